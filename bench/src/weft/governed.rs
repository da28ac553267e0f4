//! Hubs whose clients come by TLS with certificates, and that decide what they
//! may do by policies, or let them do everything.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use weft_base::{Clock, Lane, SystemClock};
use weft_client::{Client, ConnectOptions, Security, TlsIdentity};
use weft_transport::{Authority, PeerKind};
use weft_wire::frame::OnFull;

use super::connection::{Connection, Wire};
use super::publish::{ONE, Publisher};
use super::{program, subscribe};
use crate::process::{self, Server};
use crate::work::{Peer, Publish, Subscribe};

/// How long the certificates are good for.
const VALID: Duration = Duration::from_secs(86_400);
/// Who may change the state, and who publishes and subscribes.
const NAMES: [&str; 2] = ["operator", "bench"];

/// Some hubs that are all linked and vote, and who their clients are.
pub struct Governed {
    name: String,
    folder: PathBuf,
    hubs: Vec<(Server, String)>,
    tls: Arc<ClientConfig>,
}

impl Governed {
    /// So many hubs in this folder, new if it is empty; `enforce`: whether they
    /// decide by policies.
    pub fn start(name: &str, folder: &Path, count: usize, enforce: bool) -> Result<Self> {
        let names: Vec<String> = (1..=count).map(|hub| format!("hub-{hub}")).collect();
        if !folder.join("ca.pem").exists() {
            certificates(folder, &names)?;
        }
        let mut governed =
            Self { name: name.to_owned(), folder: folder.to_owned(), hubs: Vec::new(), tls: config(folder)? };
        let links: Vec<u16> = names.iter().map(|_| process::free_port()).collect::<std::io::Result<_>>()?;
        for (at, hub) in names.iter().enumerate() {
            let mut text = format!(
                "name = {hub:?}\ndata = {hub:?}\nadmins = [\"operator\"]\n\
                 [tls]\ncert = \"{hub}.pem\"\nkey = \"{hub}.key\"\nca = \"ca.pem\"\n\
                 [[clients]]\nlisten = \"127.0.0.1:0\"\n[hubs]\nlisten = \"127.0.0.1:{}\"\n\
                 [control]\nvoters = {names:?}\nenforce = {enforce}\n",
                links[at]
            );
            for (link, other) in links.iter().zip(&names).take(at) {
                text.push_str(&format!("[[neighbours]]\naddr = \"127.0.0.1:{link}\"\nname = {other:?}\n"));
            }
            governed.hubs.push(run(folder, hub, &text)?);
        }
        Ok(governed)
    }

    /// Makes the documents of this file so; answers the seconds that it took.
    pub fn apply(&self, documents: &Path) -> Result<f64> {
        let begun = Instant::now();
        let mut command = Command::new(program()?);
        command.arg("apply").arg(documents).args(["--server", &self.hubs[0].1]);
        for (flag, file) in [("--tls-cert", "operator.pem"), ("--tls-key", "operator.key"), ("--tls-ca", "ca.pem")] {
            command.arg(flag).arg(self.folder.join(file));
        }
        let output = command.output()?;
        ensure!(output.status.success(), "weft apply: {}", String::from_utf8_lossy(&output.stderr));
        Ok(begun.elapsed().as_secs_f64())
    }

    /// A client of the program's library at one of the hubs.
    pub async fn client(&self, hub: usize) -> Result<Client> {
        let file = |name: &str| self.folder.join(name);
        let identity = TlsIdentity::from_pem_files(&file("bench.pem"), &file("bench.key"), &file("ca.pem"))?;
        let security = Security::Tls(Arc::new(identity));
        Ok(Client::connect(ConnectOptions { security, ..ConnectOptions::new(self.hubs[hub].1.clone()) }).await?)
    }

    fn connect(&self) -> Result<Connection> {
        Connection::over(Wire::open_tls(&self.hubs[0].1, &self.tls)?)
    }
}

impl Peer for Governed {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> String {
        concat!("weft ", env!("CARGO_PKG_VERSION")).to_owned()
    }

    fn server(&self) -> Option<&Server> {
        self.hubs.first().map(|(server, _)| server)
    }

    fn publisher(&self, key: &str, payload: usize) -> Result<Box<dyn Publish>> {
        Ok(Box::new(Publisher::new(self.connect()?, key, payload, Lane::DEFAULT, ONE)?))
    }

    fn subscriber(&self, key: &str, _payload: usize) -> Result<Box<dyn Subscribe>> {
        Ok(Box::new(subscribe(self.connect()?, &[key], OnFull::Disconnect)?))
    }
}

/// An authority, and certificates of the hubs and of who talks to them.
fn certificates(folder: &Path, hubs: &[String]) -> Result<()> {
    let now = SystemClock::new().now().wall;
    let authority = Authority::create("weft-bench", now, VALID)?;
    fs::write(folder.join("ca.pem"), authority.certificate_pem())?;
    let hubs = hubs.iter().map(|hub| (PeerKind::Hub, hub.as_str()));
    for (kind, name) in hubs.chain(NAMES.map(|name| (PeerKind::Client, name))) {
        let issued = authority.issue(kind, name, &["127.0.0.1"], now, VALID)?;
        fs::write(folder.join(format!("{name}.pem")), &issued.certificate)?;
        fs::write(folder.join(format!("{name}.key")), &issued.key)?;
    }
    Ok(())
}

/// TLS of the raw clients, by the certificate of `bench`.
fn config(folder: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(folder.join("ca.pem"))? {
        roots.add(root?)?;
    }
    let chain = CertificateDer::pem_file_iter(folder.join("bench.pem"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(folder.join("bench.key"))?;
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(chain, key)?))
}

/// Starts a hub of this configuration; answers where its clients connect.
fn run(folder: &Path, name: &str, text: &str) -> Result<(Server, String)> {
    let (config, ready) = (folder.join(format!("{name}.toml")), folder.join(format!("{name}.json")));
    fs::write(&config, text)?;
    if ready.exists() {
        fs::remove_file(&ready)?;
    }
    let mut command = Command::new(program()?);
    command.arg("hub").arg("--config").arg(&config).arg("--ready-file").arg(&ready);
    let mut server = Server::start(name, &mut command, folder)?;
    let address = server.wait_ready(|| {
        let value: serde_json::Value = serde_json::from_str(&fs::read_to_string(&ready).ok()?).ok()?;
        value["clients"][0].as_str().map(str::to_owned)
    })?;
    ensure!(!address.is_empty(), "the hub {name} says no address");
    Ok((server, address))
}
