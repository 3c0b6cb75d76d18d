//! Waiting for something outside, aloud: that it is away is said once, and so is its return.
//!
//! Who tries again makes a [`Wait`]; who talks to people listens ([`listen`]). What takes less than a second is nobody's
//! business. An attempt that does not come back by itself is seen by one thread that looks after all of them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use engine::{Code, Error};

/// How long something may be away before it is told.
const UNTOLD: Duration = Duration::from_secs(1);

/// How often attempts under way are looked after.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What is told.
#[derive(Debug)]
pub enum Notice {
    /// Something is away: why, and for how long it is tried again.
    Away(Error),
    /// It is back.
    Back(String),
}

type Listener = Box<dyn Fn(Notice) + Send + Sync>;

static LISTENER: OnceLock<Listener> = OnceLock::new();

/// Says who is told; the first one stays.
pub fn listen(listener: impl Fn(Notice) + Send + Sync + 'static) {
    // A process has one place where things are told.
    let _ = LISTENER.set(Box::new(listener));
}

/// Something that is tried until it goes well, or for too long.
pub struct Wait(Arc<Trying>);

struct Trying {
    what: String,
    patience: Duration,
    since: Instant,
    is_told: Mutex<bool>,
}

impl Wait {
    /// Begins to try something, which takes so long at most.
    pub fn new(what: impl Into<String>, patience: Duration) -> Self {
        Self(Arc::new(Trying { what: what.into(), patience, since: Instant::now(), is_told: Mutex::new(false) }))
    }

    /// The same for what tries again by itself and says nothing meanwhile: after `silent` it is told.
    pub fn watched(what: impl Into<String>, patience: Duration, silent: Duration, code: Code) -> Self {
        let wait = Self::new(what, patience);
        watch(Watched { trying: Arc::downgrade(&wait.0), from: Instant::now() + silent, code });
        wait
    }

    /// Says that an attempt went wrong and another one follows.
    pub fn failed(&self, error: &Error) {
        if self.0.since.elapsed() >= UNTOLD {
            self.0.tell(error);
        }
    }

    /// Ends it; `is_there`: it went well.
    pub fn done(self, is_there: bool) {
        let is_told = locked(&self.0.is_told);
        if *is_told && is_there {
            let after = self.0.since.elapsed();
            say(Notice::Back(format!("{} is back after {}", self.0.what, shown(after))));
        }
    }
}

impl Trying {
    /// Tells once.
    fn tell(&self, error: &Error) {
        let mut is_told = locked(&self.is_told);
        if std::mem::replace(&mut *is_told, true) {
            return;
        }
        let meanwhile =
            format!("it is tried for {}; meanwhile nothing is read and nothing is lost", shown(self.patience));
        let help = error.help.as_ref().map_or(meanwhile.clone(), |help| format!("{meanwhile}; {help}"));
        say(Notice::Away(Error::new(error.code, format!("waiting for {}: {}", self.what, error.message)).help(help)));
    }
}

/// An attempt that may not come back by itself.
struct Watched {
    trying: Weak<Trying>,
    from: Instant,
    code: Code,
}

static WATCHED: Mutex<Vec<Watched>> = Mutex::new(Vec::new());
static CHANGED: Condvar = Condvar::new();

fn watch(watched: Watched) {
    static THREAD: std::sync::Once = std::sync::Once::new();
    if LISTENER.get().is_none() {
        return;
    }
    // Without the thread waiting is silent, and nothing else is wrong.
    THREAD.call_once(|| _ = std::thread::Builder::new().name("waiting".into()).spawn(look_after));
    locked(&WATCHED).push(watched);
    CHANGED.notify_one();
}

fn look_after() {
    let mut watched = locked(&WATCHED);
    loop {
        watched = match watched.is_empty() {
            true => CHANGED.wait(watched).unwrap_or_else(PoisonError::into_inner),
            false => {
                drop(watched);
                std::thread::sleep(LOOK_EVERY);
                locked(&WATCHED)
            }
        };
        watched.retain(|watched| {
            let Some(trying) = watched.trying.upgrade() else { return false };
            let is_due = Instant::now() >= watched.from;
            if is_due {
                trying.tell(&Error::new(watched.code, "no answer yet"));
            }
            !is_due
        });
    }
}

fn say(notice: Notice) {
    if let Some(listener) = LISTENER.get() {
        listener(notice);
    }
}

fn shown(duration: Duration) -> String {
    engine::duration(duration.as_millis() as i64 / 100 * 100_000)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_away_is_told_once_and_so_is_its_return() {
        static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
        listen(|notice| {
            let text = match notice {
                Notice::Away(error) => format!("{}: {} ({})", error.code.name(), error.message, error.help.unwrap()),
                Notice::Back(text) => text,
            };
            TOLD.lock().unwrap().push(text);
        });
        let told = |what: &str| -> Vec<String> {
            TOLD.lock().unwrap().iter().filter(|text| text.contains(what)).cloned().collect()
        };
        let refused = Error::new(Code::Database, "connection refused").help("check the server");
        let wait = Wait::new("a quick one", Duration::from_secs(300));
        wait.failed(&refused);
        wait.done(true);
        assert!(told("a quick one").is_empty());

        let mut wait = Wait::new("a slow one", Duration::from_secs(300));
        let begun = Instant::now() - Duration::from_secs(12);
        Arc::get_mut(&mut wait.0).unwrap().since = begun;
        (0..3).for_each(|_| wait.failed(&refused));
        wait.done(true);
        let told_of_it = told("a slow one");
        assert_eq!(told_of_it.len(), 2, "{told_of_it:?}");
        assert_eq!(
            told_of_it[0],
            "E_DATABASE: waiting for a slow one: connection refused (it is tried for 5m 0s; meanwhile nothing is read and nothing is lost; check the server)"
        );
        assert!(told_of_it[1].starts_with("a slow one is back after 12"), "{told_of_it:?}");

        let wait = Wait::watched("a silent one", Duration::from_secs(30), Duration::ZERO, Code::Io);
        let until = Instant::now() + Duration::from_secs(20);
        while told("a silent one").is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        wait.done(false);
        let told_of_it = told("a silent one");
        assert_eq!(told_of_it.len(), 1, "what gave up is not back: {told_of_it:?}");
        assert!(told_of_it[0].contains("no answer yet (it is tried for 30s;"), "{told_of_it:?}");
    }
}
