//! A server of DNS for tests, over real sockets: it answers from a zone that can
//! be changed, or in ways that servers should not.
#![allow(dead_code, unreachable_pub, reason = "each test file that includes it uses its part")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use simple_dns::rdata::{A, AAAA, CNAME, RData, SRV};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

/// A record of a zone.
#[derive(Clone, Debug)]
pub enum Entry {
    Address(IpAddr),
    Alias(String),
    /// Priority, weight, port and target.
    Service(u16, u16, u16, String),
}

/// How the server behaves.
#[derive(Clone, Debug, Default)]
pub enum Manner {
    /// As it should.
    #[default]
    Answers,
    /// It takes questions and says nothing.
    Silent,
    /// It answers this code to everything.
    Refuses(u8),
    /// By UDP it says that the answer does not fit, and by TCP it gives it.
    Truncates,
    /// It answers these bytes, behind the question's id.
    Sends(Vec<u8>),
    /// Before each answer it sends one with another id, and one of another name.
    Strays,
}

#[derive(Default)]
struct Zone {
    names: BTreeMap<String, Vec<(u32, Entry)>>,
    manner: Manner,
    /// Addresses of targets come with the records of a service.
    gives_extra: bool,
}

pub struct Server {
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    asked: Arc<AtomicUsize>,
    by_stream: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// How often a thread looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(20);

impl Server {
    pub fn start() -> Self {
        let (datagrams, streams) = (0..20).find_map(|_| pair()).expect("a port for UDP and TCP");
        let address = datagrams.local_addr().expect("it is bound");
        let zone: Arc<Mutex<Zone>> = Arc::default();
        let (asked, by_stream, stop) =
            (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut threads = Vec::new();
        {
            let (zone, asked, stop) = (zone.clone(), asked.clone(), stop.clone());
            threads.push(std::thread::spawn(move || serve_datagrams(&datagrams, &zone, &asked, &stop)));
        }
        {
            let (zone, asked, stop) = (zone.clone(), by_stream.clone(), stop.clone());
            threads.push(std::thread::spawn(move || serve_streams(&streams, &zone, &asked, &stop)));
        }
        Self { address, zone, asked, by_stream, stop, threads }
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name has these records from here on, and no others; each holds so many seconds.
    pub fn set(&self, name: &str, ttl: u32, entries: &[Entry]) {
        self.zone().names.insert(name.to_owned(), entries.iter().map(|entry| (ttl, entry.clone())).collect());
    }

    pub fn remove(&self, name: &str) {
        self.zone().names.remove(name);
    }

    pub fn behave(&self, manner: Manner) {
        self.zone().manner = manner;
    }

    pub fn give_extra(&self) {
        self.zone().gives_extra = true;
    }

    /// Questions that came by UDP.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Questions that came by TCP.
    pub fn asked_by_stream(&self) -> usize {
        self.by_stream.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn pair() -> Option<(UdpSocket, TcpListener)> {
    let datagrams = UdpSocket::bind("127.0.0.1:0").ok()?;
    let streams = TcpListener::bind(datagrams.local_addr().ok()?).ok()?;
    Some((datagrams, streams))
}

fn serve_datagrams(socket: &UdpSocket, zone: &Mutex<Zone>, asked: &AtomicUsize, stop: &AtomicBool) {
    let mut buffer = [0; 1_500];
    socket.set_read_timeout(Some(LOOK)).expect("a time");
    while !stop.load(Ordering::SeqCst) {
        let Ok((n, from)) = socket.recv_from(&mut buffer) else { continue };
        asked.fetch_add(1, Ordering::SeqCst);
        let zone = zone.lock().unwrap_or_else(PoisonError::into_inner);
        for answer in answers(&buffer[..n], &zone, false) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn serve_streams(listener: &TcpListener, zone: &Mutex<Zone>, asked: &AtomicUsize, stop: &AtomicBool) {
    listener.set_nonblocking(true).expect("it may not wait");
    while !stop.load(Ordering::SeqCst) {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::park_timeout(LOOK);
            continue;
        };
        asked.fetch_add(1, Ordering::SeqCst);
        let _ = serve_stream(stream, zone);
    }
}

fn serve_stream(mut stream: TcpStream, zone: &Mutex<Zone>) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let mut question = vec![0; u16::from_be_bytes(head).into()];
    stream.read_exact(&mut question)?;
    let zone = zone.lock().unwrap_or_else(PoisonError::into_inner);
    for answer in answers(&question, &zone, true) {
        stream.write_all(&(answer.len() as u16).to_be_bytes())?;
        stream.write_all(&answer)?;
    }
    Ok(())
}

/// What is said to a question.
fn answers(question: &[u8], zone: &Zone, by_stream: bool) -> Vec<Vec<u8>> {
    let packet = Packet::parse(question).expect("the client sends sound questions");
    assert_eq!(packet.questions.len(), 1);
    assert!(packet.has_flags(PacketFlag::RECURSION_DESIRED));
    let (name, kind) = (packet.questions[0].qname.to_string(), packet.questions[0].qtype);
    match &zone.manner {
        Manner::Silent => Vec::new(),
        Manner::Sends(bytes) => vec![[&question[..2], bytes].concat()],
        Manner::Refuses(code) => {
            let mut bytes = question.to_vec();
            (bytes[2], bytes[3]) = (bytes[2] | 0x80, *code);
            vec![bytes]
        }
        Manner::Truncates if !by_stream => {
            let mut bytes = question.to_vec();
            bytes[2] |= 0x82;
            vec![bytes]
        }
        Manner::Strays => {
            let right = answer(zone, &packet, &name, kind);
            let mut other_id = right.clone();
            other_id[0] ^= 0xff;
            let mut other_name = right.clone();
            other_name[13] ^= 1;
            vec![other_id, vec![1, 2, 3], other_name, right]
        }
        Manner::Answers | Manner::Truncates => vec![answer(zone, &packet, &name, kind)],
    }
}

fn answer(zone: &Zone, asked: &Packet<'_>, name: &str, kind: QTYPE) -> Vec<u8> {
    let mut reply = Packet::new_reply(asked.id());
    reply.questions = asked.questions.clone();
    let mut name = name.to_owned();
    if !zone.names.contains_key(&name) {
        *reply.rcode_mut() = RCODE::NameError;
    }
    for _ in 0..9 {
        let Some(records) = zone.names.get(&name) else { break };
        let mut next = None;
        for (ttl, entry) in records {
            if let Entry::Alias(other) = entry {
                next = Some(other.clone());
            } else if QTYPE::TYPE(number(entry)) != kind {
                continue;
            }
            reply.answers.push(record(&name, *ttl, entry));
            if let (true, Entry::Service(.., target)) = (zone.gives_extra, entry) {
                for (ttl, entry) in zone.names.get(target).into_iter().flatten() {
                    reply.additional_records.push(record(target, *ttl, entry));
                }
            }
        }
        let Some(next) = next else { break };
        name = next;
    }
    reply.build_bytes_vec_compressed().expect("it can be written")
}

fn number(entry: &Entry) -> TYPE {
    match entry {
        Entry::Address(IpAddr::V4(_)) => TYPE::A,
        Entry::Address(IpAddr::V6(_)) => TYPE::AAAA,
        Entry::Alias(_) => TYPE::CNAME,
        Entry::Service(..) => TYPE::SRV,
    }
}

fn record(owner: &str, ttl: u32, entry: &Entry) -> ResourceRecord<'static> {
    let owned = |name: &str| Name::new(name).expect("a name").into_owned();
    let data = match entry {
        Entry::Address(IpAddr::V4(ip)) => RData::A(A { address: u32::from(*ip) }),
        Entry::Address(IpAddr::V6(ip)) => RData::AAAA(AAAA { address: u128::from(*ip) }),
        Entry::Alias(other) => RData::CNAME(CNAME(owned(other))),
        Entry::Service(priority, weight, port, target) => {
            RData::SRV(SRV { priority: *priority, weight: *weight, port: *port, target: owned(target) })
        }
    };
    ResourceRecord::new(owned(owner), CLASS::IN, ttl, data)
}
