//! Server-sent events as a browser reads them, over HTTP/1.1 in chunks.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::http::connect;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    /// Empty: `message`.
    pub kind: String,
    pub data: String,
}

impl Event {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// One who listens.
pub struct Listener {
    socket: TcpStream,
    pub head: String,
    /// Came, and is in no line yet.
    bytes: Vec<u8>,
    /// Of the body, without the chunks' lengths.
    text: String,
    left_of_chunk: usize,
    /// The last chunk has come.
    is_over: bool,
}

impl Listener {
    /// Asks for a path, with these headers, and reads the head of the answer.
    pub fn open(address: &str, path: &str, headers: &str) -> Self {
        Self::over(connect(address), path, headers)
    }

    pub fn over(mut socket: TcpStream, path: &str, headers: &str) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nhost: hub\r\naccept: text/event-stream\r\n{headers}\r\n");
        socket.write_all(request.as_bytes()).expect("it is sent");
        let mut listener = Self {
            socket,
            head: String::new(),
            bytes: Vec::new(),
            text: String::new(),
            left_of_chunk: 0,
            is_over: false,
        };
        loop {
            let text = String::from_utf8_lossy(&listener.bytes).into_owned();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                listener.bytes.drain(..head.len() + 4);
                listener.head = head.to_ascii_lowercase();
                return listener;
            }
            assert!(listener.fill(), "it ended in the head: {text}");
        }
    }

    /// Reads more; whether there was more.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match self.socket.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.bytes.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}: nothing came behind {}", self.text),
        }
    }

    /// Takes what there is out of chunks (RFC 9112, 7.1).
    fn unchunk(&mut self) {
        loop {
            if self.left_of_chunk > 0 {
                let take = self.left_of_chunk.min(self.bytes.len());
                if take == 0 {
                    return;
                }
                let taken: Vec<u8> = self.bytes.drain(..take).collect();
                self.text.push_str(&String::from_utf8_lossy(&taken));
                self.left_of_chunk -= take;
                continue;
            }
            // The line behind a chunk, and that before the next.
            let start = if self.bytes.starts_with(b"\r\n") { 2 } else { 0 };
            let Some(end) = self.bytes[start..].windows(2).position(|pair| pair == b"\r\n") else { return };
            let line = String::from_utf8_lossy(&self.bytes[start..start + end]).into_owned();
            let length = usize::from_str_radix(line.trim(), 16).unwrap_or_else(|_| panic!("no length: {line}"));
            self.bytes.drain(..start + end + 2);
            self.left_of_chunk = length;
            if length == 0 {
                self.is_over = true;
                return;
            }
        }
    }

    /// The next event; none where the answer, or the connection, has ended.
    pub fn next(&mut self) -> Option<Event> {
        loop {
            self.unchunk();
            while let Some((part, rest)) = self.text.split_once("\n\n") {
                let mut event = Event::default();
                for line in part.lines() {
                    match line.split_once(": ") {
                        Some(("id", value)) => value.clone_into(&mut event.id),
                        Some(("event", value)) => value.clone_into(&mut event.kind),
                        Some(("data", value)) => event.data.push_str(value),
                        _ => {}
                    }
                }
                self.text = rest.to_owned();
                if event != Event::default() {
                    return Some(event);
                }
            }
            if self.is_over || !self.fill() {
                return None;
            }
        }
    }

    /// The data of the next event, which is an ordinary one.
    #[track_caller]
    pub fn data(&mut self) -> Value {
        let event = self.next().expect("an event");
        assert_eq!(event.kind, "", "{event:?}");
        event.json()
    }

    /// Waits for comments alone, such as heartbeats; whether one came before the end.
    pub fn hears_a_comment(&mut self) -> bool {
        loop {
            self.unchunk();
            if self.text.contains(":\n\n") {
                return true;
            }
            if !self.fill() {
                return false;
            }
        }
    }
}
