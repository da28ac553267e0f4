//! What openraft sends to other members: each call is a message with a number,
//! and waits for the message that answers it. It knows no sockets: messages go to
//! an outbox that the council empties.
//!
//! openraft gives an append as long as a heartbeat. One that is too long for a
//! message goes in parts and may take longer; so a call that is made again with
//! the same entries goes on waiting for the first one's answer instead of sending
//! them again. Nothing here answers `Unreachable`: openraft would wait by a
//! `select!` that is random by the machine's entropy.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use openraft::error::{Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError};
use openraft::network::RPCOption;
use openraft::raft::SnapshotResponse;
use openraft::{AsyncRuntime, Instant as _, RaftNetwork, RaftNetworkFactory, Snapshot};
use weft_base::Mono;
use weft_base::sync::{Arc, Mutex};

use crate::message::Body;
use crate::runtime::{Moment, Virtual, lock};
use crate::types::{AppendAnswer, AppendRequest, LogId, Member, Name, Types, Vote, VoteAnswer, VoteRequest};

/// What a member answered.
#[derive(Debug)]
pub(crate) enum Reply {
    Appended(AppendAnswer),
    Voted(VoteAnswer),
    Installed(Vote),
}

type Sender = <Virtual as AsyncRuntime>::OneshotSender<Reply>;
type Receiver = <Virtual as AsyncRuntime>::OneshotReceiver<Reply>;

/// Messages on their way out, and calls that wait for an answer. Both are bounded
/// by what openraft has under way: a few calls for each member.
#[derive(Default)]
pub(crate) struct Outbox {
    pub(crate) letters: Vec<(Member, Body)>,
    /// Calls whose caller is gone: what is still to be sent of them is not.
    pub(crate) given_up: Vec<u64>,
    waiting: BTreeMap<u64, (Member, Sender)>,
    /// Calls that are on their way in parts, or were until a while ago: until when
    /// an answer may be waited for.
    carried: BTreeMap<u64, Mono>,
    last: u64,
}

impl Outbox {
    /// An outbox that counts from here, so that answers to an earlier life of
    /// this hub are answers to nothing.
    pub(crate) fn counting_from(first: u64) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { last: first >> 1, ..Self::default() }))
    }

    /// A number for a call.
    pub(crate) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// A call goes in parts, and its answer may be waited for so long.
    pub(crate) fn carried_until(&mut self, rpc: u64, until: Mono) {
        if self.waiting.contains_key(&rpc) {
            self.carried.insert(rpc, until);
        }
    }

    /// A call does not go in parts any more, and did not arrive.
    pub(crate) fn not_carried(&mut self, rpc: u64) {
        self.carried.remove(&rpc);
    }
}

/// Hands an answer to who waits for it; answers of others than who was asked, and
/// to what nobody asks any more, are dropped.
pub(crate) fn answered(outbox: &Mutex<Outbox>, from: Member, rpc: u64, reply: Reply) {
    let mut outbox = lock(outbox);
    if outbox.waiting.get(&rpc).is_some_and(|(asked, _)| *asked == from)
        && let Some((_, sender)) = outbox.waiting.remove(&rpc)
    {
        drop(outbox);
        let _ = sender.0.send(reply);
    }
}

/// A call that waits; dropped, it does not any more.
struct Call {
    rpc: u64,
    outbox: Arc<Mutex<Outbox>>,
    receiver: Receiver,
}

impl Call {
    fn begin(outbox: &Arc<Mutex<Outbox>>, to: Member, body: impl FnOnce(u64) -> Body) -> Self {
        let (sender, receiver) = Virtual::oneshot();
        let mut out = lock(outbox);
        let rpc = out.number();
        out.waiting.insert(rpc, (to, sender));
        out.letters.push((to, body(rpc)));
        drop(out);
        Self { rpc, outbox: Arc::clone(outbox), receiver }
    }
}

impl Call {
    /// Whether its answer may still come though it did not come in time.
    fn is_carried(&self) -> bool {
        let now = Moment::now().mono();
        lock(&self.outbox).carried.get(&self.rpc).is_some_and(|until| *until > now)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut outbox = lock(&self.outbox);
        outbox.carried.remove(&self.rpc);
        let sender = outbox.waiting.remove(&self.rpc);
        if sender.is_some() {
            outbox.given_up.push(self.rpc);
        }
        drop(outbox);
        drop(sender);
    }
}

/// Makes [`Line`]s.
#[derive(Clone)]
pub(crate) struct Lines(pub(crate) Arc<Mutex<Outbox>>);

/// What two appends have in common that carry the same entries.
type Subject = (Vote, Option<LogId>, LogId);

/// The way to one member.
pub(crate) struct Line {
    to: Member,
    outbox: Arc<Mutex<Outbox>>,
    /// An append that was not answered in time.
    open: Option<(Subject, Call)>,
}

impl RaftNetworkFactory<Types> for Lines {
    type Network = Line;

    async fn new_client(&mut self, to: Member, _: &Name) -> Line {
        Line { to, outbox: Arc::clone(&self.0), open: None }
    }
}

type Called<T> = Result<T, RPCError<Member, Name, RaftError<Member>>>;

fn lost() -> NetworkError {
    NetworkError::new(&std::io::Error::other("there was no answer that makes sense"))
}

impl RaftNetwork<Types> for Line {
    async fn append_entries(&mut self, request: AppendRequest, _: RPCOption) -> Called<AppendAnswer> {
        let subject = request.entries.last().map(|last| (request.vote, request.prev_log_id, last.log_id));
        let mut call = match self.open.take() {
            Some((open, call)) if Some(open) == subject && call.is_carried() => call,
            _ => Call::begin(&self.outbox, self.to, |rpc| Body::Append { rpc, request }),
        };
        let reply = match subject {
            // Kept where the caller's end leaves it.
            Some(subject) => {
                let (_, call) = self.open.insert((subject, call));
                let reply = (&mut call.receiver).await;
                self.open = None;
                reply
            }
            None => (&mut call.receiver).await,
        };
        match reply {
            Ok(Reply::Appended(answer)) => Ok(answer),
            _ => Err(RPCError::Network(lost())),
        }
    }

    async fn vote(&mut self, request: VoteRequest, _: RPCOption) -> Called<VoteAnswer> {
        let mut call = Call::begin(&self.outbox, self.to, |rpc| Body::Vote { rpc, request });
        match (&mut call.receiver).await {
            Ok(Reply::Voted(answer)) => Ok(answer),
            _ => Err(RPCError::Network(lost())),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<Types>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Member>, StreamingError<Types, Fatal<Member>>> {
        let Snapshot { meta, snapshot: data } = snapshot;
        let mut call = Call::begin(&self.outbox, self.to, |rpc| Body::Install { rpc, vote, meta, data: *data });
        let mut cancel = std::pin::pin!(cancel);
        loop {
            // Longer than a turn, after which the parts are on their way or are not.
            let mut pause = Virtual::sleep(option.hard_ttl());
            let either = std::future::poll_fn(|context| {
                if let Poll::Ready(closed) = cancel.as_mut().poll(context) {
                    return Poll::Ready(Err(StreamingError::Closed(closed)));
                }
                if let Poll::Ready(reply) = Pin::new(&mut call.receiver).poll(context) {
                    return Poll::Ready(match reply {
                        Ok(Reply::Installed(vote)) => Ok(Some(SnapshotResponse::new(vote))),
                        _ => Err(StreamingError::Network(lost())),
                    });
                }
                Pin::new(&mut pause).poll(context).map(|()| Ok(None))
            });
            if let Some(response) = either.await? {
                return Ok(response);
            }
            if !call.is_carried() {
                return Err(StreamingError::Network(lost()));
            }
        }
    }
}
