//! `weft join` and `weft renew`: a certificate from a hub that issues, for a key
//! that stays on this machine.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use weft_base::{Clock, SystemClock, UnixNanos};
use weft_hub::options::is_label;
use weft_transport::ca::Request;
use weft_transport::joining::{Talk, Token};
use weft_transport::{CloseReason, IdentityFiles, PeerKind, TlsIdentity};
use weft_wire::frame::{Frame, Join, Joined};
use zeroize::Zeroizing;

use super::ca::{write_new, write_secret};
use crate::Usage;
use crate::cli::{JoinArgs, RenewArgs};
use crate::config;
use crate::issue::talk::{self, MAX_FRAME};

/// How long the hub that issues may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where the token is looked for when no file is named.
const VARIABLE: &str = "WEFT_JOIN_TOKEN";
/// The longest token read.
const LONGEST: u64 = 4096;
/// Numbers in configurations that all hubs of a mesh share, by their tables.
const SHARED: [(&str, &[&str]); 2] = [
    ("limits", &["frame"]),
    ("routing", &["rtt_weight", "loss_weight", "price_weight", "ways", "ways_within_percent"]),
];

pub(crate) fn run(args: &JoinArgs) -> anyhow::Result<()> {
    if !is_label(&args.name) {
        return Err(Usage(format!("`{}` cannot be a hub's name: 1 to 64 of `a-z`, `0-9` and `-`", args.name)).into());
    }
    let token = Token::parse(&token_text(args.token_file.as_deref())?).map_err(|e| Usage(e.to_string()))?;
    let path = |file: &str| args.dir.join(file);
    let (key, cert) = (path(&format!("{}.key", args.name)), path(&format!("{}.pem", args.name)));
    let (ca, config) = (path("ca.pem"), path("hub.toml"));
    fs::create_dir_all(&args.dir).with_context(|| format!("cannot make the folder {}", args.dir.display()))?;
    // Before the token is used up: what is there already would be in the way.
    if let Some(there) = [&key, &cert, &ca, &config].into_iter().find(|file| file.exists()) {
        bail!("{} is there already: move it away, or name another folder with --dir", there.display());
    }
    let request = Request::create()?;
    write_secret(&key, request.key_pem())?;
    let joined = ask(args, &token, &request);
    let joined = joined.inspect_err(|_| {
        // The key is of no use without a certificate.
        let _ = fs::remove_file(&key);
    })?;
    write_new(&cert, &joined.certificate, 0o644)?;
    write_new(&ca, &joined.authority, 0o644)?;
    write_new(&config, &joined.config, 0o644)?;
    config::load(&config).map_err(|e| anyhow::anyhow!("what the hub told makes no configuration that starts: {e}"))?;
    eprintln!(
        "joined as `{}`: made {}, {}, {} and {}\nstart it with\n  weft hub --config {}",
        args.name,
        key.display(),
        cert.display(),
        ca.display(),
        config.display(),
        config.display()
    );
    Ok(())
}

/// What joining gave.
struct Given {
    certificate: String,
    authority: String,
    config: String,
}

fn ask(args: &JoinArgs, token: &Token, request: &Request) -> anyhow::Result<Given> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut talk = Talk::dial(&args.address, token, &clock, PATIENCE).map_err(|e| refused(&args.address, &e))?;
    let join = Join {
        request: 1,
        token: token.id,
        secret: token.secret.bytes(),
        name: &args.name,
        csr: request.csr(),
        hosts: args.host.iter().map(String::as_str).collect(),
    };
    let bytes = converse(&mut talk, &args.address, &join)?;
    let joined = joined_of(&bytes)?;
    check(joined.certificate, request, joined.authority, &args.name)?;
    let config = configuration(args, &joined)?;
    let (certificate, authority) = (joined.certificate.to_owned(), joined.authority.to_owned());
    talk.end();
    Ok(Given { certificate, authority, config })
}

/// Sends the request; answers the frame that came back.
fn converse(talk: &mut Talk, address: &str, join: &Join<'_>) -> anyhow::Result<Vec<u8>> {
    let sent = talk::send(talk, &Frame::Join(join.clone()));
    // What it said before it closed counts more than that it did.
    match (talk::receive(talk, MAX_FRAME), sent) {
        (Ok(bytes), _) => Ok(bytes),
        (Err(talk::TalkError::Connection(CloseReason::RefusedByPeer { detail })), _) => bail!(
            "`{address}` takes no one without a certificate ({detail}): it is for links; the address to join at is \
             `issue.listen` of a hub that issues"
        ),
        (Err(_), Err(error)) => Err(anyhow::Error::new(error).context(format!("`{address}` took no request"))),
        (Err(error), Ok(())) => Err(anyhow::Error::new(error).context(format!("`{address}` did not answer"))),
    }
}

fn joined_of(bytes: &[u8]) -> anyhow::Result<Joined<'_>> {
    match Frame::decode(bytes).context("what came back is no frame")? {
        Frame::Joined(joined) => Ok(joined),
        Frame::Error(error) => bail!("refused ({}): {}\n  {}", error.code, error.detail, error.code.remedy()),
        other => bail!("the answer is a frame of kind {:?}, which is none to this question", other.kind()),
    }
}

/// Why the dialled hub is not the one to join at, in words of joining.
fn refused(address: &str, reason: &CloseReason) -> anyhow::Error {
    match reason {
        CloseReason::WrongName { found, expected } => anyhow::anyhow!(
            "the hub at `{address}` is `{found}`, and the token is of `{expected}`, which issues: give its address"
        ),
        CloseReason::UnknownIssuer => anyhow::anyhow!(
            "the hub at `{address}` shows no certificate of the authority that the token names: it is of another \
             mesh, or `{address}` is not where it issues (`issue.listen`); nothing was told to it"
        ),
        other => anyhow::anyhow!("cannot join at `{address}`: {other}"),
    }
}

/// Whether what came is this side's certificate, by its own authority.
fn check(certificate: &str, request: &Request, authority: &str, name: &str) -> anyhow::Result<()> {
    let identity = TlsIdentity::from_pem(certificate.as_bytes(), request.key_pem().as_bytes(), authority.as_bytes())
        .context("the hub gave a certificate that cannot be used")?;
    let me = identity.me();
    if me.kind != PeerKind::Hub || me.name != name {
        bail!("the hub gave a certificate for {} `{}`, and `{name}` was asked for", me.kind, me.name);
    }
    Ok(())
}

/// A configuration that starts.
fn configuration(args: &JoinArgs, joined: &Joined<'_>) -> anyhow::Result<String> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let name = &args.name;
    let mut text = format!(
        "# Made by `weft join`. Every key there is: examples/hub.toml.\n\
         name = {}\nregion = {}\nmesh = {}\ndata = {}\n\n\
         [tls]\ncert = {}\nkey = {}\nca = \"ca.pem\"\nrenew = {}\n\n\
         # Policies of the mesh decide what clients may do; with `false` they may do everything.\n\
         [control]\nenforce = true\n\n\
         [[clients]]\nlisten = {}\nplain = true\n\n[hubs]\nlisten = {}\n",
        quoted(name),
        quoted(&args.region),
        quoted(joined.mesh),
        quoted(&format!("data/{name}")),
        quoted(&format!("{name}.pem")),
        quoted(&format!("{name}.key")),
        quoted(&args.address),
        quoted(&args.clients),
        quoted(&args.listen),
    );
    if joined.neighbours.is_empty() {
        bail!("the hub that issued says nowhere that it takes links: give it `[hubs]` with `listen`");
    }
    let addresses = joined.neighbours.iter().map(|neighbour| reachable(neighbour.address, &args.address));
    if args.pick {
        let seeds: Vec<String> = addresses.clone().map(|address| quoted(&address)).collect();
        text += &format!("\n[pick]\nseeds = [{}]\n", seeds.join(", "));
    }
    for (neighbour, address) in joined.neighbours.iter().zip(addresses).filter(|_| !args.pick) {
        text += &format!("\n[[neighbours]]\naddr = {}\nname = {}\n", quoted(&address), quoted(neighbour.name));
    }
    for (table, keys) in SHARED {
        let known = |setting: &&weft_wire::frame::JoinSetting<'_>| {
            setting.name.split_once('.').is_some_and(|(of, key)| of == table && keys.contains(&key))
        };
        let mut lines = joined.settings.iter().filter(known).peekable();
        if lines.peek().is_some() {
            text += &format!("\n# The same at all hubs of the mesh.\n[{table}]\n");
        }
        for setting in lines {
            let key = setting.name.split_once('.').map_or("", |(_, key)| key);
            text += &format!("{key} = {}\n", setting.value);
        }
    }
    Ok(text)
}

/// Where a hub takes links, seen from here: one that listens at every address
/// of its machine is reached at the host that was dialled.
fn reachable(told: &str, dialled: &str) -> String {
    let (quic, address) = told.strip_prefix("quic:").map_or(("", told), |address| ("quic:", address));
    match (address.parse::<SocketAddr>(), dialled.rsplit_once(':')) {
        (Ok(socket), Some((host, _))) if socket.ip().is_unspecified() => format!("{quic}{host}:{}", socket.port()),
        _ => told.to_owned(),
    }
}

/// The token: of a file, of the environment, or what comes in.
fn token_text(file: Option<&Path>) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    match (file, std::env::var(VARIABLE)) {
        (Some(path), _) => {
            let failed = || format!("cannot read the token in {}", path.display());
            fs::File::open(path).and_then(|f| f.take(LONGEST).read_to_string(&mut text)).with_context(failed)?;
        }
        (None, Ok(variable)) => *text = variable,
        (None, Err(_)) => {
            std::io::stdin().take(LONGEST).read_to_string(&mut text).context("cannot read the token from stdin")?;
        }
    }
    Ok(text)
}

pub(crate) fn renew(args: &RenewArgs) -> anyhow::Result<()> {
    let config = config::load(&args.config).map_err(|e| Usage(e.to_string()))?;
    let Some(files) = config.tls else {
        return Err(Usage(format!("{} has no table `[tls]`: there is nothing to renew", args.config.display())).into());
    };
    let ends = renew_at(&args.address, &files)?;
    let until = ends.map_or(String::new(), |ends| format!(", good until {}", crate::time::rfc3339(ends)));
    eprintln!("renewed {}{until}: a hub that runs finds it by itself", files.cert.display());
    Ok(())
}

/// Asks the hub that issues at `address` for a certificate in the place of the one
/// that lies in the files, and puts it there whole; answers when it ends.
pub(crate) fn renew_at(address: &str, files: &IdentityFiles) -> anyhow::Result<Option<UnixNanos>> {
    let identity = files.load()?;
    let before = identity.me();
    let key = Zeroizing::new(fs::read_to_string(&files.key).context("cannot read the key")?);
    // The same key: two files that change at once could be found half changed.
    let request = Request::of_key(&key)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut talk = Talk::dial_as(address, (&identity, None), &clock, PATIENCE)
        .map_err(|e| anyhow::anyhow!("cannot renew at `{address}`: {e}"))?;
    let join = Join { request: 1, token: 0, secret: &[], name: &before.name, csr: request.csr(), hosts: Vec::new() };
    let bytes = converse(&mut talk, address, &join)?;
    let joined = joined_of(&bytes)?;
    let authority = fs::read_to_string(&files.ca).context("cannot read the authority")?;
    check(joined.certificate, &request, &authority, &before.name)?;
    talk.end();
    let beside = files.cert.with_extension("pem.new");
    let _ = fs::remove_file(&beside);
    write_new(&beside, joined.certificate, 0o644)?;
    fs::rename(&beside, &files.cert).with_context(|| format!("cannot write {}", files.cert.display()))?;
    Ok(files.load()?.me().expires)
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn a_hub_that_listens_everywhere_is_reached_where_it_was_dialled() {
        for (told, expected) in [
            ("0.0.0.0:7412", "hub.example.org:7412"),
            ("[::]:7412", "hub.example.org:7412"),
            ("quic:0.0.0.0:7412", "quic:hub.example.org:7412"),
            ("10.0.0.1:7412", "10.0.0.1:7412"),
            ("other.example.org:1", "other.example.org:1"),
        ] {
            assert_eq!(reachable(told, "hub.example.org:7413"), expected);
        }
    }
}
