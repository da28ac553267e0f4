//! What governs the mesh: looked at and changed through the client's hub.

use weft_govern::api::{Answer, Request};
use weft_wire::frame::{Frame, Govern};

use crate::client::Client;
use crate::error::RequestError;
use crate::report::Reply;

impl Client {
    /// Asks the hub of the control state, or changes it. A change that was sent and
    /// not answered ([`RequestError::ConnectionLost`], or a refusal of the code
    /// `timed_out`) may be made or not: sent again under the same number
    /// ([`Apply::id`](weft_govern::api::Apply::id)) it is made once.
    ///
    /// # Errors
    /// [`RequestError`]; [`Answer::Refused`] is none: the hub has said why.
    pub async fn govern(&self, asked: &Request) -> Result<Answer, RequestError> {
        let body = asked.encode().map_err(|error| RequestError::Invalid { detail: error.to_string() })?;
        match self.ask(|request| Frame::Govern(Govern { request, body: &body })).await? {
            Reply::Governed(answer) => Ok(*answer),
            _ => Err(RequestError::Unexpected { expected: "an answer of the control state" }),
        }
    }
}
