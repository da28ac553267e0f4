//! Measures the TCP network over loopback, without TLS and with it:
//! `cargo run --release -p weft-transport --example loopback [MIB] [ROUND_TRIPS]`.
//!
//! One thread sends, another receives (or answers). Throughput is of writes of
//! 64 slices of 1 KiB into reads of 256 KiB; a round trip is 64 bytes there
//! and back, both sides sleeping in `poll` in between.

use std::error::Error;
use std::io::IoSlice;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use weft_base::{Clock, SystemClock};
use weft_transport::{
    Accept, Authority, LinkToken, Network, PeerKind, ReadOutcome, Ready, Security, TcpNetwork, TcpOptions, TlsIdentity,
    WriteOutcome,
};

type Failure = Box<dyn Error + Send + Sync>;

struct End {
    net: TcpNetwork,
    ready: Vec<Ready>,
}

impl End {
    fn new(clock: &Arc<dyn Clock>) -> Result<Self, Failure> {
        Ok(Self { net: TcpNetwork::new(TcpOptions::default(), clock.clone())?, ready: Vec::new() })
    }

    /// Polls until there is a link.
    fn link(&mut self) -> Result<LinkToken, Failure> {
        loop {
            self.net.poll(None, &mut self.ready)?;
            for event in &self.ready {
                match event {
                    Ready::Accepted { link, .. } | Ready::Connected { link, .. } => return Ok(*link),
                    Ready::Closed { reason, .. } | Ready::Refused { reason, .. } => {
                        return Err(reason.to_string().into());
                    }
                    Ready::Readable(_) | Ready::Writable(_) => {}
                }
            }
        }
    }

    /// Sleeps until there is something, unless a read gives it at once.
    fn read(&mut self, link: LinkToken, buf: &mut [u8]) -> Result<Option<usize>, Failure> {
        loop {
            match self.net.read(link, buf) {
                ReadOutcome::Bytes(n) => return Ok(Some(n)),
                ReadOutcome::WouldBlock => self.net.poll(None, &mut self.ready)?,
                ReadOutcome::Closed(_) => return Ok(None),
            }
        }
    }

    fn write(&mut self, link: LinkToken, bufs: &[IoSlice<'_>]) -> Result<usize, Failure> {
        loop {
            match self.net.write(link, bufs) {
                WriteOutcome::Bytes(n) => return Ok(n),
                WriteOutcome::WouldBlock => self.net.poll(None, &mut self.ready)?,
                WriteOutcome::Closed(reason) => return Err(reason.to_string().into()),
            }
        }
    }
}

fn throughput(name: &str, security: &Security, clock: &Arc<dyn Clock>, mib: usize) -> Result<(), Failure> {
    let mut receiver = End::new(clock)?;
    let (_, address) = receiver.net.listen("127.0.0.1:0", security, Accept::Both)?;
    let thread = thread::spawn(move || -> Result<usize, Failure> {
        let link = receiver.link()?;
        let (mut got, mut buf) = (0, vec![0; 256 << 10]);
        while let Some(n) = receiver.read(link, &mut buf)? {
            got += n;
        }
        Ok(got)
    });
    let mut sender = End::new(clock)?;
    sender.net.dial(&address, security, None)?;
    let link = sender.link()?;
    let piece = [7; 1024];
    let slices = [IoSlice::new(&piece); 64];
    let start = clock.now().mono;
    let mut sent = 0;
    while sent < mib << 20 {
        sent += sender.write(link, &slices)?;
    }
    sender.net.close(link);
    while sender.net.closing() > 0 {
        sender.net.poll(Some(Duration::from_secs(1)), &mut sender.ready)?;
    }
    let got = thread.join().map_err(|_| "the receiver panicked")??;
    let seconds = clock.now().mono.since(start).as_secs_f64();
    println!("{name}: {sent} bytes sent, {got} received, {:.2} GB/s", got as f64 / seconds / 1e9);
    Ok(())
}

fn round_trips(name: &str, security: &Security, clock: &Arc<dyn Clock>, count: usize) -> Result<(), Failure> {
    let mut echo = End::new(clock)?;
    let (_, address) = echo.net.listen("127.0.0.1:0", security, Accept::Both)?;
    let thread = thread::spawn(move || -> Result<(), Failure> {
        let link = echo.link()?;
        let mut buf = [0; 4096];
        while let Some(n) = echo.read(link, &mut buf)? {
            echo.write(link, &[IoSlice::new(&buf[..n])])?;
        }
        Ok(())
    });
    let mut caller = End::new(clock)?;
    caller.net.dial(&address, security, None)?;
    let link = caller.link()?;
    let (message, mut buf) = ([3; 64], [0; 4096]);
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = clock.now().mono;
        caller.write(link, &[IoSlice::new(&message)])?;
        let mut got = 0;
        while got < message.len() {
            got += caller.read(link, &mut buf)?.ok_or("the far side closed")?;
        }
        times.push(clock.now().mono.since(start).as_nanos());
    }
    caller.net.close(link);
    drop(caller);
    thread.join().map_err(|_| "the echo panicked")??;
    times.sort_unstable();
    let at = |per_mille: usize| times.get(times.len() * per_mille / 1000).map_or(0.0, |ns| *ns as f64 / 1e3);
    println!("{name}: round trip p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us", at(500), at(990), at(999));
    Ok(())
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let mib = arguments.next().transpose()?.unwrap_or(2048);
    let count = arguments.next().transpose()?.unwrap_or(100_000);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (now, day) = (clock.now().wall, Duration::from_secs(86_400));
    let ca = Authority::create("bench", now, day)?;
    let issued = ca.issue(PeerKind::Hub, "bench", &["127.0.0.1"], now, day)?;
    let root = ca.certificate_pem().as_bytes();
    let identity = TlsIdentity::from_pem(issued.certificate.as_bytes(), issued.key.as_bytes(), root)?;
    let tls = Security::Tls(Arc::new(identity));
    for (name, security) in [("plain", &Security::Plain), ("tls", &tls)] {
        throughput(name, security, &clock, mib)?;
        round_trips(name, security, &clock, count)?;
    }
    Ok(())
}
