//! Hostile requests to the server of the metrics: mutated, too long, never ending, many at once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use testkit::hostile::mutate;
use testkit::random::Random;
use web::{About, Board, Options, Server};

/// A server of a run that has not begun, which asks for a token.
fn server() -> Server {
    let about = About { pipeline: "p".into(), definition: "d".into(), version: "v".into() };
    let options = Options { address: "0".into(), token: Some("token".into()) };
    Server::start(&options, Board::new(about)).unwrap()
}

/// Sends bytes and returns what comes back until the other side closes.
fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    exchanged(address, bytes, false)
}

/// Does the same; the server may see that nothing more will come.
fn exchanged(address: SocketAddr, bytes: &[u8], ends: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let _ = stream.write_all(bytes);
    if ends {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn code(answer: &[u8]) -> Option<u16> {
    String::from_utf8_lossy(answer).strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()
}

/// Says that it answers those who ask well.
fn assert_well(address: SocketAddr) {
    let ask = |path: &str, more: &str| {
        let text = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n");
        code(&exchange(address, text.as_bytes()))
    };
    assert_eq!(ask("/healthz", ""), Some(503), "the driver has not begun");
    assert_eq!(ask("/metrics", ""), Some(401));
    assert_eq!(ask("/metrics", "Authorization: Bearer token\r\n"), Some(200));
}

#[test]
fn no_request_does_harm_to_the_server() {
    let server = server();
    let address = server.address();
    let seeds = [
        "GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\nConnection: close\r\n\r\n",
        "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        "GET /readyz?a=b HTTP/1.0\r\n\r\n",
        "PUT /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ];
    let mut codes = std::collections::BTreeMap::new();
    for number in 0..600 {
        let mut random = Random::new(number);
        let (seed, other) = (random.pick(&seeds).as_bytes(), random.pick(&seeds).as_bytes());
        let answer = exchanged(address, &mutate(seed, other, &mut random), true);
        let code = code(&answer);
        assert!(code.is_none_or(|code| code != 200), "only the token opens: {}", String::from_utf8_lossy(&answer));
        *codes.entry(code).or_insert(0) += 1;
    }
    assert!(codes.len() >= 5, "{codes:?}");
    assert_well(address);
}

#[test]
fn methods_that_would_change_something_and_heads_that_are_too_long_are_refused() {
    let server = server();
    let address = server.address();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        let text = format!("{method} /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(code(&exchange(address, text.as_bytes())), Some(405), "{method}");
    }
    let long = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(20_000));
    assert_ne!(code(&exchange(address, long.as_bytes())), Some(503), "a head of 20 KB is not read to its end");
    let many = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(100));
    assert_ne!(code(&exchange(address, many.as_bytes())), Some(503), "nor are a hundred headers");
    assert_well(address);
}

#[test]
fn clients_that_say_nothing_are_waited_for_a_while_and_not_for_ever() {
    let server = server();
    let address = server.address();
    // As many as there are places, each with the beginning of a head.
    let begun = Instant::now();
    let silent: Vec<TcpStream> = (0..16)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost:").unwrap();
            stream
        })
        .collect();
    // Who comes after them is answered once their time is over.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(code(&answer), Some(503));
    // A head has ten seconds, a connection thirty.
    assert!(begun.elapsed() < Duration::from_secs(29), "{:?}", begun.elapsed());
    drop(silent);
    assert_well(address);
}
