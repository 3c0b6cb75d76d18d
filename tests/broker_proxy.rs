//! A network between a client and the broker that loses or delays what a test says.
//!
//! The broker tells clients of its listener for proxies to come to another port (`tests/services/kafka.sh`); there this
//! listens. It knows requests by their kind only: a length, then the number of the kind.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// The number of the request that ends a transaction.
const END_TXN: i16 = 26;

/// What happens to the next request that ends a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plan {
    /// It passes.
    Pass,
    /// The broker gets it, and its answer never arrives.
    LoseAnswer,
    /// It waits in the network until it is let go, while new connections pass.
    Delay,
}

struct State {
    plan: Mutex<Plan>,
    /// How many such requests came.
    ends: Mutex<u32>,
    /// Whether what was planned has happened, and whether what waits may go on.
    done: AtomicBool,
    let_go: Mutex<bool>,
    /// Whether answers are late, and connections break.
    is_rough: AtomicBool,
    /// How many connections were broken.
    breaks: AtomicU32,
    changed: Condvar,
}

/// A proxy that runs as long as the test.
pub(crate) struct Proxy {
    state: Arc<State>,
    /// Where a client may begin.
    pub(crate) address: String,
    // One proxy at a time: there is one port for it.
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

/// What the test that has the turn says.
static CURRENT: Mutex<Option<Arc<State>>> = Mutex::new(None);

impl Proxy {
    pub(crate) fn start() -> Self {
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let behind = std::env::var("SAMESTREAM_TEST_KAFKA_PROXIED").expect("see tests/services/kafka.sh");
        let (host, port) = behind.rsplit_once(':').unwrap();
        let address = format!("{host}:{}", port.parse::<u16>().unwrap() + 1);
        let state = Arc::new(State {
            plan: Mutex::new(Plan::Pass),
            ends: Mutex::new(0),
            done: AtomicBool::new(false),
            let_go: Mutex::new(false),
            is_rough: AtomicBool::new(false),
            breaks: AtomicU32::new(0),
            changed: Condvar::new(),
        });
        let is_first = CURRENT.lock().unwrap().replace(state.clone()).is_none();
        if is_first {
            let listener = TcpListener::bind(&address).unwrap();
            std::thread::spawn(move || accept(&listener, &behind));
        }
        Self { state, address, _turn: turn }
    }

    /// Says what happens to the next end of a transaction.
    pub(crate) fn plan(&self, plan: Plan) {
        *self.state.plan.lock().unwrap() = plan;
    }

    /// Returns how many ends of transactions came.
    pub(crate) fn ends(&self) -> u32 {
        *self.state.ends.lock().unwrap()
    }

    /// Returns whether what was planned has happened.
    pub(crate) fn has_happened(&self) -> bool {
        self.state.done.load(Ordering::SeqCst)
    }

    /// Says whether answers come up to a tenth of a second late and connections break now and then.
    pub(crate) fn rough(&self, is_rough: bool) {
        self.state.is_rough.store(is_rough, Ordering::SeqCst);
    }

    /// Returns how many connections were broken.
    pub(crate) fn breaks(&self) -> u32 {
        self.state.breaks.load(Ordering::SeqCst)
    }

    /// Lets go what waits.
    pub(crate) fn let_go(&self) {
        *self.state.let_go.lock().unwrap() = true;
        self.state.changed.notify_all();
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Connects clients, in the way of the test that runs.
fn accept(listener: &TcpListener, behind: &str) {
    for client in listener.incoming() {
        let (Ok(client), Ok(broker)) = (client, TcpStream::connect(behind)) else { continue };
        let state = CURRENT.lock().unwrap().clone().expect("the first test sets it");
        let muted = Arc::new(AtomicBool::new(false));
        let back = (broker.try_clone().unwrap(), client.try_clone().unwrap(), muted.clone(), state.clone());
        std::thread::spawn(move || _ = requests(client, broker, &muted, &state));
        std::thread::spawn(move || _ = answers(back.0, back.1, &back.2, &back.3));
    }
}

fn frame(from: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut size = [0; 4];
    from.read_exact(&mut size)?;
    let mut whole = size.to_vec();
    whole.resize(4 + u32::from_be_bytes(size) as usize, 0);
    from.read_exact(&mut whole[4..])?;
    Ok(whole)
}

fn requests(mut client: TcpStream, mut broker: TcpStream, muted: &AtomicBool, state: &State) -> std::io::Result<()> {
    loop {
        let Ok(request) = frame(&mut client) else {
            return broker.shutdown(std::net::Shutdown::Write);
        };
        if i16::from_be_bytes([request[4], request[5]]) == END_TXN {
            *state.ends.lock().unwrap() += 1;
            let plan = std::mem::replace(&mut *state.plan.lock().unwrap(), Plan::Pass);
            match plan {
                Plan::Pass => {}
                Plan::LoseAnswer => muted.store(true, Ordering::SeqCst),
                Plan::Delay => {
                    state.done.store(true, Ordering::SeqCst);
                    let waits = state.let_go.lock().unwrap();
                    drop(state.changed.wait_while(waits, |let_go| !*let_go).unwrap());
                }
            }
        }
        broker.write_all(&request)?;
    }
}

fn answers(mut broker: TcpStream, mut client: TcpStream, muted: &AtomicBool, state: &State) -> std::io::Result<()> {
    for count in 1_u64.. {
        let Ok(answer) = frame(&mut broker) else {
            return client.shutdown(std::net::Shutdown::Write);
        };
        if state.is_rough.load(Ordering::SeqCst) {
            // Of a length that differs from answer to answer, the same in every run.
            std::thread::sleep(Duration::from_millis(count * 37 % 101));
            if count % 11 == 0 {
                state.breaks.fetch_add(1, Ordering::SeqCst);
                broker.shutdown(std::net::Shutdown::Both)?;
                return client.shutdown(std::net::Shutdown::Both);
            }
        }
        match muted.load(Ordering::SeqCst) {
            true => state.done.store(true, Ordering::SeqCst),
            false => client.write_all(&answer)?,
        }
    }
    Ok(())
}
