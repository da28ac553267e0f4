//! Atomic batches, gathered here and published together.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use weft_wire::block::EventFields;

use crate::error::PublishError;
use crate::publisher::{Acknowledgement, Published, Publisher};
use crate::session::Gathered;

/// Events that one stream takes all together or not at all, in this order, with
/// nothing between them. Nothing is sent before [`commit`](Self::commit);
/// dropping it forgets them. All of it must fit the window of unacknowledged
/// blocks at once, and the publisher's level must be `Written` or higher.
///
/// ```no_run
/// # async fn example(client: &weft_client::Client) -> Result<(), weft_client::PublishError> {
/// use weft_client::{AckLevel, PublisherOptions};
///
/// let publisher = client.publisher(PublisherOptions::level(AckLevel::Synced));
/// let mut batch = publisher.batch();
/// batch.publish("accounts/7/debit", b"100");
/// batch.publish("accounts/9/credit", b"100");
/// let published = batch.commit().await?;
/// assert_eq!(published.len(), 2);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is published before `commit`"]
#[derive(Debug)]
pub struct Batch {
    publisher: Publisher,
    events: Vec<Gathered>,
}

impl Batch {
    pub(crate) fn new(publisher: Publisher) -> Self {
        Self { publisher, events: Vec::new() }
    }

    /// Adds an event that happens now.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) {
        let time = self.publisher.now();
        self.publish_event(topic, EventFields { time, payload, ..EventFields::default() });
    }

    /// Adds an event with key, headers and a time of its own.
    pub fn publish_event(&mut self, topic: &str, event: EventFields<'_>) {
        self.events.push(Gathered {
            topic: topic.to_owned(),
            time: event.time,
            key: event.key.to_vec(),
            headers: event.headers.to_vec(),
            payload: event.payload.to_vec(),
        });
    }

    /// How many events it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Publishes all of it; ready when the stream has taken it, at the
    /// publisher's level. Answers what the mesh says of each event, in order.
    /// A batch that has been sent is carried on in the background when this
    /// future is dropped.
    ///
    /// # Errors
    /// [`PublishError`]: none of it is in the stream; but with
    /// [`PublishError::Closed`] that is not known.
    pub async fn commit(self) -> Result<Vec<Published>, PublishError> {
        if self.events.is_empty() {
            return Ok(Vec::new());
        }
        let acknowledgements = poll_fn(|cx| match self.publisher.take_batch(&self.events, cx) {
            Err(PublishError::Full { .. }) => Poll::Pending,
            taken => Poll::Ready(taken),
        })
        .await?;
        let mut waiting: Vec<(Acknowledgement, Option<Published>)> =
            acknowledgements.into_iter().map(|acknowledgement| (acknowledgement, None)).collect();
        // All at once: the first refusal decides, while the hub may keep the
        // blocks before it for as long as a batch may take to be whole.
        poll_fn(|cx| {
            for (acknowledgement, published) in waiting.iter_mut().filter(|(_, published)| published.is_none()) {
                match Pin::new(acknowledgement).poll(cx) {
                    Poll::Ready(outcome) => *published = Some(outcome?),
                    Poll::Pending => {}
                }
            }
            let whole = waiting.iter().all(|(_, published)| published.is_some());
            if whole { Poll::Ready(Ok::<_, PublishError>(())) } else { Poll::Pending }
        })
        .await?;
        Ok(waiting.into_iter().filter_map(|(_, published)| published).collect())
    }
}
