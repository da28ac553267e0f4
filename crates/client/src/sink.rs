//! A publisher as a `Sink`: back-pressure is its readiness.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_sink::Sink;

use crate::error::PublishError;
use crate::publisher::{Acknowledgement, Publisher};

/// Acknowledgements that may be outstanding; beyond it the sink is not ready.
const OUTSTANDING: usize = 65_536;

/// Takes payloads and publishes them to one topic. Ready while the publisher's
/// window has room; flushed when all that it took is acknowledged. The first
/// error, of taking or of an acknowledgement, is answered and ends it: what was
/// taken before may still arrive, and nothing more is taken.
#[derive(Debug)]
pub struct PublisherSink {
    publisher: Publisher,
    topic: String,
    /// Taken while the window was full.
    waiting: Option<Vec<u8>>,
    outstanding: VecDeque<Acknowledgement>,
    failed: Option<PublishError>,
    closed: bool,
}

impl PublisherSink {
    pub(crate) fn new(publisher: Publisher, topic: &str) -> Self {
        let topic = topic.to_owned();
        Self { publisher, topic, waiting: None, outstanding: VecDeque::new(), failed: None, closed: false }
    }

    fn fail(&mut self, error: PublishError) -> PublishError {
        self.waiting = None;
        self.outstanding.clear();
        self.failed.get_or_insert(error).clone()
    }

    /// Publishes what waits, and takes the acknowledgements that are there, in order.
    fn advance(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Result<(), PublishError>> {
        if let Some(error) = &self.failed {
            return Poll::Ready(Err(error.clone()));
        }
        if let Some(payload) = &self.waiting {
            match self.publisher.poll_publish(&self.topic, payload, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(acknowledgement)) => {
                    self.outstanding.push_back(acknowledgement);
                    self.waiting = None;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.fail(error))),
            }
        }
        while let Some(first) = self.outstanding.front_mut() {
            match Pin::new(first).poll(cx) {
                Poll::Ready(Ok(_)) => drop(self.outstanding.pop_front()),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.fail(error))),
                Poll::Pending if self.outstanding.len() > most => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Sink<Vec<u8>> for PublisherSink {
    type Error = PublishError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), PublishError>> {
        if self.closed {
            return Poll::Ready(Err(PublishError::Closed));
        }
        self.advance(cx, OUTSTANDING)
    }

    fn start_send(mut self: Pin<&mut Self>, payload: Vec<u8>) -> Result<(), PublishError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.closed || self.waiting.is_some() {
            return Err(PublishError::Closed);
        }
        match self.publisher.try_publish(&self.topic, &payload) {
            Ok(acknowledgement) => self.outstanding.push_back(acknowledgement),
            Err(PublishError::Full { .. }) => self.waiting = Some(payload),
            Err(error) => return Err(self.fail(error)),
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), PublishError>> {
        self.advance(cx, 0)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), PublishError>> {
        self.closed = true;
        self.advance(cx, 0)
    }
}
