//! Finding the addresses of names without holding up the polling thread. A
//! look-up that the dial no longer waits for ends when the system's resolver
//! gives up, and its answer is thrown away.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use weft_base::sync::Arc;

use super::wake::WakeState;
use crate::offhand::Offhand;

/// Where names are looked up. Called on a thread of its own, and may wait.
pub trait Resolve: Send + Sync {
    /// The addresses of `host` with `port`, the best first.
    ///
    /// # Errors
    /// The name has none, or nobody can be asked.
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The system's resolver (`getaddrinfo`, so `/etc/hosts` and DNS).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((host, port).to_socket_addrs()?.collect())
    }
}

/// Names and ports that are being looked up, by the links that wait for them.
pub(super) type Resolver = Offhand<(String, u16), Vec<SocketAddr>, io::Error>;

pub(super) fn resolver(resolve: Arc<dyn Resolve>, wake: Arc<WakeState>) -> Resolver {
    let find = Arc::new(move |(host, port): (String, u16)| resolve.resolve(&host, port));
    Offhand::new("weft-resolve", find, Arc::new(move || wake.wake()))
}
