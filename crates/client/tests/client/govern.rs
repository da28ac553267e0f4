//! The control state of a mesh through its clients: hubs in one process that
//! replicate it by Raft, over real links.
#![allow(dead_code, reason = "a part of the program is used")]

#[path = "../../../weft/src/control/council.rs"]
mod council;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_lite::future::block_on;
use weft_base::{Clock, HubId, Mono, Random, SystemClock};
use weft_client::{Client, ConnectOptions, RequestError, Security, TlsIdentity};
use weft_govern::api::{Answer, Applied, Apply, Export, Exported, Refusal, Request, Show, Shown, Voters};
use weft_govern::{Authored, ChangeId, Key, Kind, Outcome, State};
use weft_hub::govern::{Council, Standing, Word};
use weft_hub::options::{Listen, Neighbour};
use weft_hub::{Environment, Hub, HubOptions};
use weft_transport::PeerKind;
use weft_transport::ca::Authority;
use weft_wire::frame::ErrorCode;

const YEAR: Duration = Duration::from_secs(365 * 86_400);
const VOTERS: [&str; 3] = ["chicago", "new-york", "los-angeles"];

fn identity(ca: &Authority, kind: PeerKind, name: &str) -> Security {
    let issued = ca.issue(kind, name, &["127.0.0.1"], SystemClock::new().now().wall, YEAR).expect("a certificate");
    let ca = ca.certificate_pem();
    let identity = TlsIdentity::from_pem(issued.certificate.as_bytes(), issued.key.as_bytes(), ca.as_bytes());
    Security::Tls(Arc::new(identity.expect("it is in order")))
}

/// Hubs with data folders; all dial the first one, which votes with the next two.
struct Mesh {
    ca: Authority,
    folder: tempfile::TempDir,
    hubs: Vec<(String, Option<Hub>)>,
    address: String,
}

impl Mesh {
    fn start(names: &[&str]) -> Self {
        let ca = Authority::create("test", SystemClock::new().now().wall, YEAR).expect("an authority");
        let folder = tempfile::tempdir().expect("a folder");
        let mut mesh = Self { ca, folder, hubs: Vec::new(), address: "127.0.0.1:0".to_owned() };
        for (index, name) in names.iter().enumerate() {
            let hub = mesh.hub(name);
            if index == 0 {
                hub.hub_address().expect("it listens for hubs").clone_into(&mut mesh.address);
            }
            mesh.hubs.push(((*name).to_owned(), Some(hub)));
        }
        mesh
    }

    fn data(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn options(&self, name: &str) -> HubOptions {
        let mut options = HubOptions::new(name);
        let security = identity(&self.ca, PeerKind::Hub, name);
        let is_first = name == VOTERS[0];
        let addr = if is_first { self.address.clone() } else { "127.0.0.1:0".to_owned() };
        options.clients = vec![Listen { addr: "127.0.0.1:0".to_owned(), security: security.clone() }];
        options.hubs = Some(Listen { addr, security: security.clone() });
        options.link_security = Some(security);
        if !is_first {
            let name = Some(VOTERS[0].to_owned());
            options.neighbours = vec![Neighbour { addr: self.address.clone(), name, ..Neighbour::default() }];
        }
        options.data = Some(self.data(name));
        options.admins = vec!["operator".to_owned()];
        options.timers.redial_first = Duration::from_millis(10);
        options.timers.redial_most = Duration::from_millis(100);
        options.control.voters = VOTERS.map(str::to_owned).to_vec();
        options.control.heartbeat = Duration::from_millis(100);
        options.control.election_least = Duration::from_millis(400);
        options.control.election_most = Duration::from_millis(800);
        options.control.alarm_after = Duration::from_secs(1);
        options
    }

    fn hub(&self, name: &str) -> Hub {
        let options = self.options(name);
        let mut environment = Environment::of_machine(&options).expect("an environment");
        environment.governance.council = Some(Box::new(council::open));
        Hub::start_in(options, environment).expect("the hub starts")
    }

    fn get(&self, name: &str) -> &Hub {
        let (_, hub) = self.hubs.iter().find(|(known, _)| known == name).expect("a hub of the mesh");
        hub.as_ref().expect("it runs")
    }

    fn stop(&mut self, name: &str) {
        let (_, hub) = self.hubs.iter_mut().find(|(known, _)| known == name).expect("a hub of the mesh");
        hub.take().expect("it runs").stop().expect("a clean end");
    }

    fn begin(&mut self, name: &str) {
        let hub = self.hub(name);
        let (_, place) = self.hubs.iter_mut().find(|(known, _)| known == name).expect("a hub of the mesh");
        *place = Some(hub);
    }

    /// A client of a hub, by the name in its certificate.
    async fn client(&self, hub: &str, name: &str) -> Client {
        let security = identity(&self.ca, PeerKind::Client, name);
        let address = &self.get(hub).client_addresses()[0];
        Client::connect(ConnectOptions { security, ..ConnectOptions::new(address) }).await.expect("a connection")
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        for (_, hub) in &mut self.hubs {
            if let Some(hub) = hub.take() {
                hub.stop().expect("a clean end");
            }
        }
    }
}

fn id() -> ChangeId {
    ChangeId::draw(&mut Random::from_entropy().expect("entropy"))
}

fn tenant(name: &str) -> Key {
    Key::new(Kind::Tenant, name).expect("a key")
}

/// The wish that there be tenants of these names, each with topics of its own.
fn wish(names: &[&str]) -> Apply {
    let document = |name: &&str| (tenant(name), format!("{{\"topics\":[\"{name}/**\"]}}").into());
    let puts = names.iter().map(document).collect();
    Apply { id: id(), puts, deletes: Vec::new(), prune: None, expects: Vec::new(), dry_run: false }
}

/// Applies; while nobody leads yet, again under the same number.
async fn apply(client: &Client, wanted: Apply) -> Result<Applied, Refusal> {
    let asked = Request::Apply(wanted);
    for _ in 0..20 {
        match client.govern(&asked).await {
            Ok(Answer::Applied(applied)) => return Ok(applied),
            Ok(Answer::Refused(refusal)) => return Err(refusal),
            Err(RequestError::Refused(refusal))
                if [ErrorCode::NO_LEADER, ErrorCode::TIMED_OUT].contains(&refusal.code) => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("nobody ever leads")
}

async fn export(client: &Client, fresh: bool) -> Exported {
    match client.govern(&Request::Export(Export { fresh, ..Export::default() })).await {
        Ok(Answer::Exported(page)) => page,
        other => panic!("{other:?}"),
    }
}

async fn show(client: &Client) -> Shown {
    match client.govern(&Request::Show(Show::default())).await {
        Ok(Answer::Shown(shown)) => shown,
        other => panic!("{other:?}"),
    }
}

/// Looks until it is so.
async fn until(client: &Client, what: &str, is_so: impl Fn(&Shown) -> bool) -> Shown {
    for _ in 0..3_000 {
        let shown = show(client).await;
        if is_so(&shown) {
            return shown;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("it never came to this: {what}: {:?}", show(client).await)
}

fn names(page: &Exported) -> Vec<&str> {
    page.items.iter().map(|(key, ..)| key.name()).collect()
}

#[test]
fn what_is_applied_at_a_hub_that_only_learns_is_read_everywhere_and_once() {
    let mesh = Mesh::start(&["chicago", "new-york", "los-angeles", "boston"]);
    block_on(async {
        let boston = mesh.client("boston", "operator").await;
        let wanted = wish(&["billing", "trading"]);
        let applied = apply(&boston, wanted.clone()).await.expect("it is applied");
        assert_eq!((applied.version, applied.counts.created, applied.repeated), (1, 2, false));
        assert!(applied.shown.contains("+ tenant/billing"), "{}", applied.shown);
        // The same number has no second effect, wherever it comes to.
        for hub in ["chicago", "new-york", "los-angeles", "boston"] {
            let client = mesh.client(hub, "operator").await;
            let again = apply(&client, wanted.clone()).await.expect("the first answer");
            assert_eq!((again.version, again.repeated), (1, true));
            // As the voters have it, and as this hub came to it by itself.
            assert_eq!(names(&export(&client, true).await), ["billing", "trading"]);
            assert_eq!(names(&export(&client, false).await), ["billing", "trading"]);
            let shown = until(&client, "all take part", |shown| shown.learners.len() == 1).await;
            let voters: Vec<&str> = shown.voters.iter().map(|member| member.hub.as_str()).collect();
            assert_eq!(voters, ["chicago", "los-angeles", "new-york"]);
            assert_eq!((shown.learners[0].hub.as_str(), shown.hub.as_str()), ("boston", hub));
            assert!(shown.leader.is_some_and(|leader| VOTERS.contains(&leader.as_str())));
            assert_eq!(shown.last.map(|last| last.author.to_string()).as_deref(), Some("operator"));
        }
        // What is so already changes nothing; a dry run changes nothing either.
        let same = apply(&boston, wish(&["billing"])).await.expect("nothing is to be done");
        assert_eq!((same.version, same.counts.unchanged, same.counts.created), (1, 1, 0));
        let dry = apply(&boston, Apply { dry_run: true, ..wish(&["other"]) }).await.expect("what would be");
        assert_eq!((dry.version, dry.counts.created, dry.dry_run), (1, 1, true));
        assert_eq!(export(&boston, true).await.version, 1);
    });
}

#[test]
fn of_two_changes_of_the_same_one_is_made_and_the_other_is_told_who_made_it() {
    let mesh = Mesh::start(&["chicago", "new-york", "los-angeles"]);
    block_on(async {
        let east = mesh.client("new-york", "operator").await;
        let west = mesh.client("los-angeles", "operator").await;
        apply(&east, wish(&["billing"])).await.expect("it is applied");
        let seen = export(&west, true).await;
        let (key, version, _) = seen.items[0].clone();
        let expects = vec![weft_govern::Expect { key: key.clone(), version: Some(version) }];
        let change = |text: &str| Apply {
            id: id(),
            puts: vec![(key.clone(), format!("{{\"topics\":[],\"description\":\"{text}\"}}").into())],
            deletes: Vec::new(),
            prune: None,
            expects: expects.clone(),
            dry_run: false,
        };
        let (first, second) = (change("east"), change("west"));
        let outcomes = futures_lite::future::zip(apply(&east, first), apply(&west, second)).await;
        let (won, lost) = match outcomes {
            (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won, lost),
            other => panic!("one is made and one is not: {other:?}"),
        };
        assert_eq!(won.version, 2);
        let Refusal::Conflict { key: told, expected, found, .. } = lost else { panic!("a conflict: {lost:?}") };
        assert_eq!((&told, expected, found), (&key, Some(1), Some(2)));
        // The hub that leads may have answered before this one had learned who it was.
        until(&west, "the change is learned", |shown| shown.version == 2).await;
        let again = apply(&west, change("again")).await;
        let Err(Refusal::Conflict { by: Some(by), .. }) = again else { panic!("it says by whom: {again:?}") };
        assert_eq!(by.author.to_string(), "operator");
        assert_eq!(export(&east, true).await.version, 2, "nothing else was changed");
        let guest = mesh.client("new-york", "guest").await;
        match guest.govern(&Request::Apply(wish(&["theirs"]))).await {
            Err(RequestError::Refused(refusal)) => assert_eq!(refusal.code, ErrorCode::NOT_ADMIN),
            other => panic!("nobody else may: {other:?}"),
        }
    });
}

#[test]
fn a_hub_that_is_cut_off_says_how_old_its_state_is_and_catches_up() {
    let mut mesh = Mesh::start(&["chicago", "new-york", "los-angeles"]);
    block_on(async {
        let west = mesh.client("los-angeles", "operator").await;
        apply(&west, wish(&["billing"])).await.expect("it is applied");
        until(&west, "what the leader has answered is learned", |shown| shown.version == 1).await;
        // Chicago is the way to everybody.
        mesh.stop("chicago");
        let alone = until(&west, "it is cut off", |shown| shown.age_ms.is_none_or(|age| age > 1_500)).await;
        assert_eq!(alone.version, 1, "it goes by what it has");
        assert_eq!(names(&export(&west, false).await), ["billing"]);
        match west.govern(&Request::Apply(wish(&["trading"]))).await {
            Err(RequestError::Refused(refusal)) => {
                assert!([ErrorCode::NO_LEADER, ErrorCode::TIMED_OUT].contains(&refusal.code), "{refusal}");
            }
            other => panic!("nobody else is there: {other:?}"),
        }
        let alarms = &mesh.get("los-angeles").counters().control_alarms;
        assert!(alarms.load(std::sync::atomic::Ordering::Relaxed) > 0);
        mesh.begin("chicago");
        let again = apply(&west, wish(&["shipping"])).await.expect("a majority is there");
        assert!(again.version >= 2);
        until(&west, "it is current", |shown| shown.age_ms.is_some_and(|age| age < 1_000)).await;
        let chicago = mesh.client("chicago", "operator").await;
        until(&chicago, "it has caught up", |shown| shown.version >= again.version).await;
        assert_eq!(names(&export(&chicago, true).await), names(&export(&west, true).await));
    });
}

#[test]
fn voters_are_changed_while_the_mesh_runs() {
    let mesh = Mesh::start(&["chicago", "new-york", "los-angeles", "boston"]);
    block_on(async {
        let client = mesh.client("new-york", "operator").await;
        apply(&client, wish(&["billing"])).await.expect("it is applied");
        until(&client, "boston learns", |shown| shown.learners.len() == 1).await;
        let wanted = ["boston", "chicago", "new-york"];
        let asked = Request::Voters(Voters { voters: wanted.map(str::to_owned).to_vec() });
        let mut done = false;
        for _ in 0..20 {
            match client.govern(&asked).await {
                Ok(Answer::Shown(_)) => {
                    done = true;
                    break;
                }
                Err(RequestError::Refused(refusal)) if refusal.code != ErrorCode::NOT_ADMIN => {
                    std::thread::park_timeout(Duration::from_millis(100));
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(done, "others vote");
        let is_so = |shown: &Shown| shown.voters.iter().map(|member| member.hub.as_str()).eq(wanted);
        until(&client, "boston votes", is_so).await;
        apply(&client, wish(&["trading"])).await.expect("it goes on");
    });
}

#[test]
fn a_hub_without_a_data_folder_says_that_it_has_no_control_state() {
    let ca = Authority::create("test", SystemClock::new().now().wall, YEAR).expect("an authority");
    let mut options = HubOptions::new("alone");
    options.clients = vec![Listen { addr: "127.0.0.1:0".to_owned(), security: identity(&ca, PeerKind::Hub, "alone") }];
    let mut environment = Environment::of_machine(&options).expect("an environment");
    environment.governance.council = Some(Box::new(council::open));
    let hub = Hub::start_in(options, environment).expect("the hub starts");
    block_on(async {
        let security = identity(&ca, PeerKind::Client, "operator");
        let address = &hub.client_addresses()[0];
        let client =
            Client::connect(ConnectOptions { security, ..ConnectOptions::new(address) }).await.expect("a connection");
        match client.govern(&Request::Show(Show::default())).await {
            Err(RequestError::Refused(refusal)) => assert_eq!(refusal.code, ErrorCode::UNSUPPORTED),
            other => panic!("{other:?}"),
        }
    });
    hub.stop().expect("a clean end");
}

#[test]
fn a_control_state_of_another_hub_keeps_the_hub_from_starting() {
    let mut mesh = Mesh::start(&["chicago"]);
    mesh.stop("chicago");
    std::fs::rename(mesh.data("chicago").join("control"), Path::new(&mesh.data("moved"))).expect("it is moved");
    drop(mesh.hub("new-york").stop());
    let theirs = mesh.data("new-york").join("control");
    std::fs::remove_dir_all(&theirs).expect("it is taken away");
    std::fs::rename(mesh.data("moved"), &theirs).expect("it is put there");
    let options = mesh.options("new-york");
    let mut environment = Environment::of_machine(&options).expect("an environment");
    environment.governance.council = Some(Box::new(council::open));
    let error = Hub::start_in(options, environment).err().expect("it does not start").to_string();
    assert!(error.contains("chicago") && error.contains("control.redb"), "{error}");
}

/// A council whose disk fails when it is told so.
struct Failing {
    inner: Box<dyn Council>,
    fails: Arc<AtomicBool>,
    has_said: bool,
}

impl Failing {
    fn is_over(&self) -> bool {
        self.fails.load(Ordering::Relaxed)
    }
}

impl Council for Failing {
    fn set_hubs(&mut self, reachable: &[(HubId, String)]) {
        self.inner.set_hubs(reachable);
    }

    fn on_message(&mut self, from: HubId, bytes: &[u8], now: Mono) -> Result<(), String> {
        self.inner.on_message(from, bytes, now)
    }

    fn step(&mut self, now: Mono, words: &mut Vec<Word>) -> Option<Mono> {
        if !self.is_over() {
            // It looks again soon whether it is to fail.
            let soon = now + Duration::from_millis(20);
            return Some(self.inner.step(now, words).map_or(soon, |next| next.min(soon)));
        }
        if !std::mem::replace(&mut self.has_said, true) {
            words.push(Word::Stopped("the disk fails".to_owned()));
        }
        None
    }

    fn propose(&mut self, request: u64, change: &[u8], now: Mono) -> Result<(), String> {
        self.inner.propose(request, change, now)
    }

    fn read(&mut self, request: u64, now: Mono) -> Result<(), String> {
        self.inner.read(request, now)
    }

    fn set_voters(&mut self, request: u64, voters: &[HubId], now: Mono) -> Result<(), String> {
        self.inner.set_voters(request, voters, now)
    }

    fn state(&self) -> Arc<State> {
        self.inner.state()
    }

    fn outcome(&self, id: ChangeId) -> Option<Outcome> {
        self.inner.outcome(id)
    }

    fn author_of(&self, version: u64) -> Option<Authored> {
        self.inner.author_of(version)
    }

    fn age(&self, now: Mono) -> Option<Duration> {
        // As of one that has stopped: it leads nobody, and hears nobody.
        self.inner.age(now).filter(|_| !self.is_over())
    }

    fn standings(&self) -> Vec<Standing> {
        self.inner.standings()
    }
}

#[test]
fn a_hub_whose_disk_failed_says_how_old_its_state_is_and_why_it_takes_no_part() {
    block_on(async {
        let mut mesh = Mesh::start(&[]);
        let fails = Arc::new(AtomicBool::new(false));
        let mut options = mesh.options("alone");
        (options.control.voters, options.neighbours) = (vec!["alone".to_owned()], Vec::new());
        let mut environment = Environment::of_machine(&options).expect("an environment");
        let told = fails.clone();
        environment.governance.council = Some(Box::new(move |seat| {
            Ok(Box::new(Failing { inner: council::open(seat)?, fails: told, has_said: false }))
        }));
        let hub = Hub::start_in(options, environment).expect("the hub starts");
        mesh.hubs.push(("alone".to_owned(), Some(hub)));
        let client = mesh.client("alone", "operator").await;
        apply(&client, wish(&["billing"])).await.expect("a change");
        let before = until(&client, "it leads", |shown| shown.age_ms.is_some()).await;
        assert_eq!((before.version, before.stopped), (1, None));
        fails.store(true, Ordering::Relaxed);
        let after = until(&client, "it has stopped", |shown| shown.stopped.is_some()).await;
        assert_eq!((after.version, after.stopped.as_deref()), (1, Some("the disk fails")));
        let age = after.age_ms.expect("it had heard of itself");
        // From then on it only grows.
        until(&client, "its state gets older", |shown| shown.age_ms > Some(age)).await;
        assert_eq!(export(&client, false).await.items.len(), 1, "the state is read on");
        client.close().await;
    });
}
