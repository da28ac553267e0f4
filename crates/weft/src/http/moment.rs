//! What requests of one thread publish in the same moment goes to the hub together, and
//! its acknowledgements are waited for by one task.
//!
//! A thread of the server has many requests that are ready at once. Each by itself would
//! wake the thread of its session, and be woken by it: two calls of the system a request,
//! and a block for each event. So the sessions that are published in are corked
//! ([`weft_client::Cork`]) until all tasks that were ready have had their turn, which is
//! when a task that is spawned first among them has its own; and that task waits for all
//! acknowledgements, for [`ACK`] at most, and tells each request's task, on the same
//! thread. docs/adr/0062
//!
//! Bounded by the requests under way (`[http] requests`): each waits for one at a time.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use weft_client::{Acknowledgement, Client, Cork, PublishError, Published};

/// How long it is waited for acknowledgements.
pub(super) const ACK: Duration = Duration::from_secs(10);

thread_local! {
    static MOMENT: RefCell<Moment> = RefCell::default();
}

/// What has come since the last end of a moment.
#[derive(Default)]
struct Moment {
    corks: Vec<Cork>,
    waiting: Vec<Waiting>,
    /// A task will end it.
    ends: bool,
}

/// A request that waits.
struct Waiting {
    acknowledgement: Acknowledgement,
    tell: Option<oneshot::Sender<Result<Published, PublishError>>>,
}

/// What this client publishes goes at the end of the moment.
///
/// # Panics
/// Outside of a runtime.
pub(super) fn hold(client: &Client) {
    MOMENT.with_borrow_mut(|moment| {
        if !moment.corks.iter().any(|cork| cork.is_of(client)) {
            moment.corks.push(client.cork());
            moment.come();
        }
    });
}

/// What became of an event; `None`: it is not known after [`ACK`]. Nothing is lost where
/// this is dropped.
///
/// # Panics
/// Outside of a runtime.
pub(super) async fn settled(acknowledgement: Acknowledgement) -> Option<Result<Published, PublishError>> {
    if let Some(known) = acknowledgement.try_get() {
        return Some(known);
    }
    let (tell, told) = oneshot::channel();
    MOMENT.with_borrow_mut(|moment| {
        moment.waiting.push(Waiting { acknowledgement, tell: Some(tell) });
        moment.come();
    });
    told.await.ok()
}

impl Moment {
    fn come(&mut self) {
        if !std::mem::replace(&mut self.ends, true) {
            tokio::spawn(end());
        }
    }
}

/// Ends the moment, and waits for what was published in it.
async fn end() {
    let Moment { corks, mut waiting, .. } = MOMENT.take();
    drop(corks);
    let all = poll_fn(|cx| {
        waiting.retain_mut(|one| one.poll(cx).is_pending());
        if waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    });
    // Who is not told until then hears that it is not known, as what tells goes.
    let _ = timeout(ACK, all).await;
}

impl Waiting {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let outcome = std::task::ready!(Pin::new(&mut self.acknowledgement).poll(cx));
        if let Some(tell) = self.tell.take() {
            // Who has gone meanwhile hears nothing.
            drop(tell.send(outcome));
        }
        Poll::Ready(())
    }
}
