//! Asks the servers in turn, by UDP, and by TCP what does not fit there; all
//! within one bound of time.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use weft_base::{Clock, Mono, Random};

use super::LookUpError;
use super::message::{Answer, Kind, Said, question, read};

/// How often all servers are asked, each time for twice as long.
const ROUNDS: u32 = 3;
/// What the first wait is of all the time there is.
const FIRST: u32 = 8;
/// Datagrams that answer something else, before the server counts as silent.
const STRANGE: usize = 32;
/// The largest datagram that is read; no server sends more unless asked to.
const DATAGRAM: usize = 4_096;
/// The least that is waited for anything.
const LEAST: Duration = Duration::from_millis(1);

/// One look-up, which may take several questions.
pub(super) struct Ask<'a> {
    servers: &'a [SocketAddr],
    timeout: Duration,
    clock: &'a dyn Clock,
    random: &'a mut Random,
    until: Mono,
}

/// A server's answer, or why there is none.
enum Tried {
    Said(Said),
    Nothing(io::Error),
}

impl<'a> Ask<'a> {
    pub(super) fn new(
        servers: &'a [SocketAddr],
        timeout: Duration,
        clock: &'a dyn Clock,
        random: &'a mut Random,
    ) -> Self {
        let until = clock.now().mono + timeout;
        Self { servers, timeout, clock, random, until }
    }

    pub(super) fn random(&mut self) -> &mut Random {
        self.random
    }

    /// What the servers say of a name.
    pub(super) fn of(&mut self, name: &str, kind: Kind) -> Result<Answer, LookUpError> {
        let unread = |server: SocketAddr, detail| LookUpError::Broken { name: name.to_owned(), server, detail };
        let mut last = None;
        let mut silent = "there was no time left".to_owned();
        for round in 0..ROUNDS {
            let mut answered = false;
            for server in self.servers {
                let left = self.until.since(self.clock.now().mono);
                if left.is_zero() {
                    break;
                }
                let wait = (self.timeout / FIRST * (1 << round)).min(left).max(LEAST);
                let id = self.random.next_u64() as u16;
                let asked = question(id, name, kind).map_err(|detail| unread(*server, detail))?;
                let said = match self.by_datagram(*server, &asked, (id, name, kind), wait) {
                    Tried::Said(Said::Truncated) => self.by_stream(*server, &asked, (id, name, kind), wait),
                    other => other,
                };
                match said {
                    Tried::Said(Said::Answer(answer)) if answer.records.is_empty() => {
                        return Err(LookUpError::Nothing { name: name.to_owned(), kind: kind.name() });
                    }
                    Tried::Said(Said::Answer(answer)) => return Ok(answer),
                    Tried::Said(Said::Unknown) => return Err(LookUpError::Unknown { name: name.to_owned() }),
                    Tried::Said(Said::Refused(code)) => {
                        (answered, last) = (true, Some(refused(name, *server, code)));
                    }
                    Tried::Said(Said::Broken(detail)) => (answered, last) = (true, Some(unread(*server, detail))),
                    Tried::Said(Said::Truncated | Said::Other) => {
                        (answered, last) = (true, Some(unread(*server, "it is of another question".to_owned())));
                    }
                    Tried::Nothing(e) => silent = format!("{server}: {e}"),
                }
            }
            // Who has said no is not asked again at once.
            if answered {
                break;
            }
        }
        let millis = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        Err(last.unwrap_or(LookUpError::Silent { name: name.to_owned(), millis, detail: silent }))
    }

    /// How much of a wait is left.
    fn left(&self, until: Mono) -> io::Result<Duration> {
        let left = until.since(self.clock.now().mono);
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left.max(LEAST)) }
    }

    fn by_datagram(&self, server: SocketAddr, asked: &[u8], about: (u16, &str, Kind), wait: Duration) -> Tried {
        let mut buffer = [0; DATAGRAM];
        let until = self.clock.now().mono + wait;
        let mut receive = || {
            let local: SocketAddr = match server {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(local)?;
            // From here on the system lets only this server's datagrams through.
            socket.connect(server)?;
            socket.send(asked)?;
            for _ in 0..STRANGE {
                socket.set_read_timeout(Some(self.left(until)?))?;
                let n = match socket.recv(&mut buffer) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    other => other?,
                };
                match read(buffer.get(..n).unwrap_or_default(), about.0, about.1, about.2) {
                    Said::Other => {}
                    said => return Ok(said),
                }
            }
            Ok(Said::Other)
        };
        receive().map_or_else(|e: io::Error| Tried::Nothing(in_words(e)), Tried::Said)
    }

    fn by_stream(&self, server: SocketAddr, asked: &[u8], about: (u16, &str, Kind), wait: Duration) -> Tried {
        let until = self.clock.now().mono + wait;
        let exchange = || {
            let mut stream = TcpStream::connect_timeout(&server, self.left(until)?)?;
            stream.set_write_timeout(Some(self.left(until)?))?;
            let length = u16::try_from(asked.len()).map_err(io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes(), asked].concat())?;
            let mut head = [0; 2];
            self.fill(&mut stream, &mut head, until)?;
            let mut bytes = vec![0; u16::from_be_bytes(head).into()];
            self.fill(&mut stream, &mut bytes, until)?;
            Ok(read(&bytes, about.0, about.1, about.2))
        };
        exchange().map_or_else(|e: io::Error| Tried::Nothing(in_words(e)), Tried::Said)
    }

    /// Reads until `bytes` is full: a server that sends them one by one has no
    /// more time than one that does not.
    fn fill(&self, stream: &mut TcpStream, bytes: &mut [u8], until: Mono) -> io::Result<()> {
        let mut filled = 0;
        while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
            stream.set_read_timeout(Some(self.left(until)?))?;
            match stream.read(room) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// A wait that is over is told by some systems as if there was nothing yet.
fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => io::Error::new(io::ErrorKind::TimedOut, "no answer"),
        _ => error,
    }
}

fn refused(name: &str, server: SocketAddr, code: u8) -> LookUpError {
    let code = match code {
        1 => "the question is malformed (FORMERR)".to_owned(),
        2 => "it failed (SERVFAIL)".to_owned(),
        4 => "it does not know such questions (NOTIMP)".to_owned(),
        5 => "it refuses (REFUSED)".to_owned(),
        other => format!("code {other}"),
    };
    LookUpError::Refused { name: name.to_owned(), server, code }
}
