//! Receivers that refuse, hang, lie and are not there.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use axum::http::{Response, StatusCode};
use bytes::Bytes;

use super::options::{OtlpOptions, Protocol};
use super::talk::{Talk, What};

fn talk(port: u16, protocol: Protocol) -> Talk {
    let mut options = OtlpOptions::new(format!("http://127.0.0.1:{port}"), protocol);
    options.patience = Duration::from_millis(500);
    Talk::new(&options).expect("nothing is asked of the disk")
}

/// Takes connections on a thread of its own, as long as the test lasts.
fn listen(each: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || listener.incoming().flatten().for_each(each));
    port
}

/// Answers each request by HTTP/1.1 with this.
fn answers(answer: &'static str) -> u16 {
    listen(move |mut socket| {
        let mut seen = Vec::new();
        let mut part = [0; 4096];
        // The head and, of the tests' requests, the body `x`.
        while !seen.ends_with(b"\r\n\r\nx") {
            match socket.read(&mut part) {
                Ok(0) | Err(_) => return,
                Ok(n) => seen.extend_from_slice(&part[..n]),
            }
        }
        let _ = socket.write_all(answer.as_bytes());
    })
}

/// Answers one call of gRPC with this status, in the head or behind a body.
fn grpc(status: &'static str, in_head: bool) -> u16 {
    let (told, port) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().expect("one");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            told.send(listener.local_addr().expect("an address").port()).expect("it waits");
            let (socket, _) = listener.accept().await.expect("a connection");
            let mut connection = h2::server::handshake(socket).await.expect("HTTP/2");
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                assert_eq!(request.uri().path(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
                let mut head = Response::builder().status(StatusCode::OK).header("content-type", "application/grpc");
                if in_head {
                    head = head.header("grpc-status", status).header("grpc-message", "no");
                }
                let mut stream = respond.send_response(head.body(()).expect("a head"), in_head).expect("it goes");
                if !in_head {
                    // A message that says: 2 refused, because "full".
                    let message = b"\0\0\0\0\x0a\x0a\x08\x08\x02\x12\x04full";
                    stream.send_data(Bytes::from_static(message), false).expect("it goes");
                    let trailers = [("grpc-status", status)]
                        .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
                    stream.send_trailers(trailers.into_iter().collect()).expect("it goes");
                }
            }
        });
    });
    port.recv().expect("it listens")
}

fn failure(port: u16, protocol: Protocol) -> (bool, Option<Duration>) {
    let failure = talk(port, protocol).send(What::Traces, b"x".to_vec()).expect_err("it is none");
    (failure.again, failure.after)
}

#[test]
fn by_http_what_may_be_tried_again_is_and_a_receiver_may_say_when() {
    let busy = answers("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(failure(busy, Protocol::Http), (true, Some(Duration::from_secs(7))));
    let far = answers("HTTP/1.1 429 Slow\r\nRetry-After: 99999\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(failure(far, Protocol::Http), (true, Some(Duration::from_secs(60))));
    let bad = answers("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(failure(bad, Protocol::Http), (false, None));
    let elsewhere = answers("HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(failure(elsewhere, Protocol::Http), (false, None), "nothing leads to another address");
    let good = answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(talk(good, Protocol::Http).send(What::Logs, b"x".to_vec()).expect("it is taken"), None);
}

#[test]
fn by_grpc_a_status_is_read_wherever_it_stands_and_a_part_may_be_refused() {
    for (status, again) in [("14", true), ("8", true), ("3", false), ("16", false)] {
        assert_eq!(failure(grpc(status, true), Protocol::Grpc), (again, None), "{status} in the head");
        assert_eq!(failure(grpc(status, false), Protocol::Grpc), (again, None), "{status} in the trailers");
    }
    let mut talk = talk(grpc("0", false), Protocol::Grpc);
    for _ in 0..2 {
        let refused = talk.send(What::Traces, b"x".to_vec()).expect("over one connection");
        assert_eq!(refused, Some((2, "full".to_owned())));
    }
}

#[test]
fn a_receiver_that_hangs_talks_nonsense_or_is_not_there_costs_its_patience_and_no_more() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let hangs = listen(|socket| {
            drop(thread::spawn(move || {
                let mut socket = socket;
                let _ = socket.read_to_end(&mut Vec::new());
            }))
        });
        assert!(failure(hangs, protocol).0);
        let nonsense = listen(|mut socket| {
            let _ = socket.write_all(&[0x5a; 64 << 10]);
        });
        assert!(failure(nonsense, protocol).0);
        let gone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        assert!(failure(gone, protocol).0);
    }
}
