//! Decides what is answered, on a thread of its own: an expensive schema holds up
//! the registry's other requests, and nothing else.
//!
//! It also shows payloads by their schemas to whoever looks at events ([`Desk::show`]).
//!
//! Keeps the registry's index of the control state, which it brings up to the state
//! that each request is to be decided on by what is not the same, and the schemas
//! that were compiled last. Its queue is bounded; a request that finds it full is
//! refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::Context;
use serde_json::Value;
use tokio::sync::oneshot;
use weft_govern::{Expect, Key, Kind, State};
use weft_schema::checker::{Checker, Shown};
use weft_schema::registry::{Cache, RegistryLimits, State as Registry};
use weft_schema::rest::{self, Answer, Outcome, Request};
use weft_topic::Topic;

/// The kinds of documents that the registry is made of.
const KINDS: [Kind; 3] = [Kind::Schema, Kind::Subject, Kind::Registry];
/// The thread's stack: compiling takes [`weft_schema::STACK_BYTES`] at most.
const STACK: usize = 2 * weft_schema::STACK_BYTES;
/// What compiled schemas take by which payloads are shown.
const SHOWING: usize = 16 << 20;

/// A request, whole.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) body: Vec<u8>,
}

/// What is to be done about one.
#[derive(Debug)]
pub(super) enum Decided {
    /// It is answered so.
    Answer(Answer),
    /// Documents are to be put, and then it is answered so.
    Change(Changing),
}

/// A change of documents.
#[derive(Debug)]
pub(super) struct Changing {
    pub(super) puts: Vec<(Key, Arc<str>)>,
    pub(super) deletes: Vec<Key>,
    /// What it was decided on.
    pub(super) expects: Vec<Expect>,
    pub(super) answer: Answer,
}

/// A payload that is to be shown.
#[derive(Clone, Debug)]
pub(in super::super) struct Piece {
    pub(in super::super) topic: Arc<str>,
    /// The schema's id that its block names; 0: none.
    pub(in super::super) schema: u32,
    pub(in super::super) payload: Vec<u8>,
}

enum Job {
    Show { state: Arc<State>, pieces: Vec<Piece>, most: usize, reply: oneshot::Sender<Vec<Option<Shown>>> },
    Decide { state: Arc<State>, asked: Arc<Asked>, reply: oneshot::Sender<Decided> },
    Subjects { state: Arc<State>, id: u32, most: usize, reply: oneshot::Sender<Vec<String>> },
}

/// The desk; its thread ends with the last handle.
#[derive(Clone)]
pub(in super::super) struct Desk(SyncSender<Job>);

/// The desk has no room, or has ended.
#[derive(Debug, thiserror::Error)]
#[error("more requests wait for the registry than it takes: try again in a moment")]
pub(in super::super) struct Busy;

impl Desk {
    /// Starts its thread; `waiting` requests may wait.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(in super::super) fn open(waiting: usize) -> anyhow::Result<Self> {
        let (jobs, taken) = sync_channel(waiting);
        let thread = std::thread::Builder::new().name("weft-registry".to_owned()).stack_size(STACK);
        thread.spawn(move || work(&taken)).context("the system gives no thread")?;
        Ok(Self(jobs))
    }

    /// What is to be done about a request, by this state.
    pub(super) async fn decide(&self, state: Arc<State>, asked: Arc<Asked>) -> Result<Decided, Busy> {
        let (reply, answer) = oneshot::channel();
        self.push(Job::Decide { state, asked, reply })?;
        answer.await.map_err(|_| Busy)
    }

    /// The subjects that have the schema of an id, by the names of their documents.
    pub(super) async fn subjects(&self, state: Arc<State>, id: u32, most: usize) -> Result<Vec<String>, Busy> {
        let (reply, answer) = oneshot::channel();
        self.push(Job::Subjects { state, id, most, reply })?;
        answer.await.map_err(|_| Busy)
    }

    /// Payloads as text of about `most` bytes at most, by the schemas of this state;
    /// none for what is of no schema.
    pub(in super::super) async fn show(
        &self,
        state: Arc<State>,
        pieces: Vec<Piece>,
        most: usize,
    ) -> Result<Vec<Option<Shown>>, Busy> {
        let (reply, answer) = oneshot::channel();
        self.push(Job::Show { state, pieces, most, reply })?;
        answer.await.map_err(|_| Busy)
    }

    fn push(&self, job: Job) -> Result<(), Busy> {
        self.0.try_send(job).map_err(|_| Busy)
    }
}

fn work(jobs: &Receiver<Job>) {
    let mut index = Index::new();
    while let Ok(job) = jobs.recv() {
        match job {
            // Nobody waits for it any more.
            Job::Decide { reply, .. } if reply.is_closed() => {}
            Job::Show { reply, .. } if reply.is_closed() => {}
            Job::Show { state, pieces, most, reply } => {
                index.learn(&state);
                let _ = reply.send(pieces.iter().map(|piece| index.show(piece, most)).collect());
            }
            Job::Decide { state, asked, reply } => {
                index.learn(&state);
                let _ = reply.send(index.decide(&asked));
            }
            Job::Subjects { state, id, most, reply } => {
                index.learn(&state);
                let _ = reply.send(rest::subjects_of(&index.registry, id, most));
            }
        }
    }
}

/// The registry of a state.
struct Index {
    of: Arc<State>,
    registry: Registry,
    cache: Cache,
    /// For payloads that are shown; none: it has not been needed for this state.
    checker: Option<Checker>,
}

impl Index {
    fn new() -> Self {
        let registry = Registry::new(RegistryLimits::default());
        Self { of: Arc::default(), registry, cache: Cache::default(), checker: None }
    }

    /// A payload by its schema.
    fn show(&mut self, piece: &Piece, most: usize) -> Option<Shown> {
        let topic = Topic::parse(&piece.topic).ok()?;
        let checker = self.checker.get_or_insert_with(|| Checker::new(&self.registry, Cache::new(SHOWING)));
        let named = (piece.schema != 0).then_some(piece.schema);
        checker.show(&self.registry, topic, (named, &piece.payload), most)
    }

    /// Takes a state, older or newer, in the place of the one before.
    fn learn(&mut self, state: &Arc<State>) {
        if Arc::ptr_eq(&self.of, state) {
            return;
        }
        for kind in KINDS {
            for (key, _) in self.of.of_kind(kind).filter(|(key, _)| state.get(key).is_none()) {
                put(&mut self.registry, key, None);
            }
            for (key, item) in state.of_kind(kind) {
                if self.of.get(key).is_none_or(|known| known != item) {
                    put(&mut self.registry, key, Some(&item.document));
                }
            }
        }
        self.checker = None;
        self.of = state.clone();
    }

    fn decide(&mut self, asked: &Asked) -> Decided {
        let Asked { method, path, query, body } = asked;
        let outcome = rest::handle(&self.registry, &mut self.cache, &Request { method, path, query, body });
        let (put, read, answer) = match outcome {
            Outcome::Answer(answer) => return Decided::Answer(answer),
            Outcome::Change { put, read, answer } => (put, read, answer),
        };
        let mut changing = Changing { puts: Vec::new(), deletes: Vec::new(), expects: Vec::new(), answer };
        let mut expects = BTreeMap::new();
        let named = put.iter().map(|document| (document.kind, &document.name));
        for (kind, name) in named.chain(read.iter().map(|(kind, name)| (*kind, name))) {
            let key = match key(kind, name) {
                Ok(key) => key,
                Err(refusal) => return Decided::Answer(refusal),
            };
            let version = self.of.get(&key).map(|item| item.version);
            expects.insert(key, version);
        }
        for document in put {
            let key = match key(document.kind, &document.name) {
                Ok(key) => key,
                Err(refusal) => return Decided::Answer(refusal),
            };
            match document.body {
                Some(body) => changing.puts.push((key, body.to_string().into())),
                None if self.of.get(&key).is_some() => changing.deletes.push(key),
                None => {}
            }
        }
        changing.expects = expects.into_iter().map(|(key, version)| Expect { key, version }).collect();
        Decided::Change(changing)
    }
}

fn key(kind: &str, name: &str) -> Result<Key, Answer> {
    let known = KINDS.into_iter().find(|known| known.name() == kind);
    let refused = |text: String| Answer::refusal(422, 42_208, text);
    let known = known.ok_or_else(|| refused(format!("there are no documents of the kind {kind}")))?;
    Key::new(known, name).map_err(|error| refused(error.to_string()))
}

/// Takes in a document. One that cannot be read is not there for the registry.
fn put(registry: &mut Registry, key: &Key, document: Option<&str>) {
    let body = document.map(serde_json::from_str::<Value>).transpose();
    let taken = match &body {
        Ok(body) => registry.put(key.kind().name(), key.name(), body.as_ref()).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = taken {
        tracing::warn!(code = "registry_fault", key = %key, error, "a document of the registry cannot be read");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, path: &str, body: &str) -> Asked {
        let (method, path, query) = (method.to_owned(), path.to_owned(), String::new());
        Asked { method, path, query, body: body.as_bytes().to_vec() }
    }

    /// Registers in the state as it is, and gives the state after it.
    fn registered(index: &mut Index, state: &Arc<State>, subject: &str, text: &str) -> Arc<State> {
        let body = serde_json::json!({"schema": text}).to_string();
        index.learn(state);
        let decided = index.decide(&asked("POST", &format!("/subjects/{subject}/versions"), &body));
        let Decided::Change(changing) = decided else { panic!("no change: {decided:?}") };
        for expect in &changing.expects {
            assert_eq!(state.get(&expect.key).map(|item| item.version), expect.version);
        }
        Arc::new(state.with(changing.puts, &changing.deletes))
    }

    #[test]
    fn the_index_follows_the_state_forth_and_back() {
        let (mut index, empty) = (Index::new(), Arc::new(State::default()));
        let one = registered(&mut index, &empty, "a", "\"string\"");
        let two = registered(&mut index, &one, "b", "\"long\"");
        let subjects = |index: &mut Index, state: &Arc<State>| {
            index.learn(state);
            let decided = index.decide(&asked("GET", "/subjects", ""));
            let Decided::Answer(answer) = decided else { panic!("no answer: {decided:?}") };
            answer.body
        };
        assert_eq!(subjects(&mut index, &two), serde_json::json!(["a", "b"]));
        assert_eq!(subjects(&mut index, &one), serde_json::json!(["a"]));
        assert_eq!(subjects(&mut index, &empty), serde_json::json!([]));
        assert_eq!(subjects(&mut index, &two), serde_json::json!(["a", "b"]));
    }

    #[test]
    fn a_document_that_cannot_be_read_hides_no_other() {
        let (mut index, empty) = (Index::new(), Arc::new(State::default()));
        let one = registered(&mut index, &empty, "a", "\"string\"");
        let bad = Key::new(Kind::Schema, "77").expect("a key");
        let worse = Arc::new(one.with([(bad, "[1, 2".into())], &[]));
        index.learn(&worse);
        let decided = index.decide(&asked("GET", "/schemas/ids/1", ""));
        assert!(matches!(decided, Decided::Answer(Answer { status: 200, .. })), "{decided:?}");
    }
}
