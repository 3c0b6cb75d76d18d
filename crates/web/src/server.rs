//! The server: a thread of its own with a small runtime, which reads the board and nothing else.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use engine::{Code, Error, Result};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, oneshot};

use crate::board::{Board, SILENCE};
use crate::metrics;

/// Where to listen, and who may ask.
#[derive(Clone, Default)]
pub struct Options {
    /// `HOST:PORT`, or a port of this machine alone.
    pub address: String,
    /// What `/metrics` wants to be told; None: nothing, which only an address of this machine alone may.
    pub token: Option<String>,
}

/// A token is never shown.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("address", &self.address).finish_non_exhaustive()
    }
}

/// How long a request's head may take to come.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may last, so that who reads slowly does not stay for ever.
const CONNECTION: Duration = Duration::from_secs(30);
/// How many connections there may be at once; others wait to be accepted.
const CONNECTIONS: usize = 16;
/// Bytes of a request's head, and how many headers it has at most.
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Begins to listen. What it answers comes from the board.
    pub fn start(options: &Options, board: Arc<Board>) -> Result<Self> {
        let (listener, address) = bind(options)?;
        let shared = Arc::new(Shared { board, token: options.token.clone() });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::io("cannot serve metrics", error))?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            // A listener that cannot be served ends the thread, and nothing else.
            let _entered = runtime.enter();
            if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                runtime.spawn(accept(listener, router(shared)));
                let _ = runtime.block_on(stopped);
            }
        };
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(serve);
        let thread = thread.map_err(|error| Error::io("cannot serve metrics", error))?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic, if it had one, is nobody else's.
            let _ = thread.join();
        }
    }
}

fn bind(options: &Options) -> Result<(TcpListener, SocketAddr)> {
    let text = options.address.as_str();
    let named = match text.parse::<u16>() {
        Ok(port) => format!("127.0.0.1:{port}"),
        Err(_) => text.to_string(),
    };
    let wrong = || {
        Error::new(Code::Usage, format!("`--metrics {text}` is no address"))
            .help("write HOST:PORT, such as 127.0.0.1:9464, or a port alone")
    };
    let addresses: Vec<SocketAddr> = named.to_socket_addrs().map_err(|_| wrong())?.collect();
    if addresses.is_empty() {
        return Err(wrong());
    }
    let is_open = addresses.iter().any(|address| !address.ip().is_loopback());
    if is_open && options.token.is_none() {
        return Err(Error::new(Code::OpenBind, format!("`--metrics {text}` would show the numbers to other machines"))
            .help("listen on 127.0.0.1, or set a token: SAMESTREAM_METRICS_TOKEN, or --metrics-token-file FILE"));
    }
    let failed = |error: std::io::Error| Error::new(Code::Io, format!("cannot listen on {text}: {error}"));
    let listener = TcpListener::bind(addresses.as_slice()).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Takes connections, a limited number at a time, each with limits of its own.
async fn accept(listener: tokio::net::TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                // Too many open files, or a client that has gone: neither is for ever.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_headers(HEADERS)
                .max_buf_size(HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            let _ = tokio::time::timeout(CONNECTION, connection).await;
            drop(place);
        });
    }
}

struct Shared {
    board: Arc<Board>,
    token: Option<String>,
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/metrics", get(numbers))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .with_state(shared)
}

async fn numbers(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if !is_allowed(shared.token.as_deref(), &headers) {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], "a token is missing or wrong\n")
            .into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics::text(&shared.board)).into_response()
}

async fn health(State(shared): State<Arc<Shared>>) -> Response {
    match shared.board.seen() {
        Some((_, age)) if age < SILENCE => (StatusCode::OK, "ok\n").into_response(),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "the driver has not come round for a minute\n").into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the driver has not begun\n").into_response(),
    }
}

async fn readiness(State(shared): State<Arc<Shared>>) -> Response {
    match shared.board.seen() {
        Some((numbers, age)) if numbers.has_caught_up && age < SILENCE => (StatusCode::OK, "ready\n").into_response(),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "has not caught up\n").into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the driver has not begun\n").into_response(),
    }
}

fn is_allowed(token: Option<&str>, headers: &HeaderMap) -> bool {
    let Some(token) = token else { return true };
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|value| value.split_at_checked(7));
    given.is_some_and(|(kind, given)| kind.eq_ignore_ascii_case(b"Bearer ") && is_same(given, token.as_bytes()))
}

/// Compares in a time that depends on the length of what was given only.
fn is_same(given: &[u8], token: &[u8]) -> bool {
    let mut different = given.len() ^ token.len();
    for (i, byte) in given.iter().enumerate() {
        different |= usize::from(byte ^ token[i % token.len().max(1)]);
    }
    std::hint::black_box(different) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_token() {
        assert!(is_same(b"secret", b"secret"));
        for other in [&b""[..], b"s", b"secre", b"secreT", b"secret1", b"secretsecret"] {
            assert!(!is_same(other, b"secret"), "{other:?}");
        }
        let headers = |value: &'static str| [(header::AUTHORIZATION, value.parse().unwrap())].into_iter().collect();
        assert!(is_allowed(Some("secret"), &headers("Bearer secret")));
        assert!(is_allowed(Some("secret"), &headers("bearer secret")));
        for wrong in ["Bearer other", "secret", "Bearer", "Basic secret", ""] {
            assert!(!is_allowed(Some("secret"), &headers(wrong)), "{wrong}");
        }
        assert!(!is_allowed(Some("secret"), &HeaderMap::new()));
        assert!(is_allowed(None, &HeaderMap::new()));
    }

    #[test]
    fn an_address_that_others_reach_needs_a_token() {
        let bound = |address: &str, token: Option<&str>| {
            bind(&Options { address: address.into(), token: token.map(String::from) }).map(|(_, address)| address)
        };
        assert_eq!(bound("0.0.0.0:0", None).unwrap_err().code, Code::OpenBind);
        assert_eq!(bound("[::]:0", None).unwrap_err().code, Code::OpenBind);
        assert!(bound("0.0.0.0:0", Some("secret")).is_ok());
        assert!(bound("127.0.0.1:0", None).unwrap().ip().is_loopback());
        assert!(bound("0", None).unwrap().ip().is_loopback());
        for wrong in ["", "here", "127.0.0.1", "70000"] {
            assert_eq!(bound(wrong, None).unwrap_err().code, Code::Usage, "{wrong}");
        }
    }
}
