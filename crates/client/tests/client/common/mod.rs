//! A hub in this process for the tests of the client.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::time::Duration;

use futures_lite::future::block_on;
use weft_client::{Client, ConnectOptions, Security, StreamOptions};
use weft_hub::options::Listen;
use weft_hub::{Hub, HubOptions};

/// A hub with a data folder, which can be stopped and started at its address.
pub struct Place {
    hub: Option<Hub>,
    address: String,
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut place = Self { hub: None, address: "127.0.0.1:0".to_owned(), folder };
        place.start();
        place
    }

    /// One that has this stream.
    pub fn with(stream: &StreamOptions) -> Self {
        let place = Self::new();
        block_on(async { place.client().await.streams().create(stream).await.expect("a stream") });
        place
    }

    pub fn start(&mut self) {
        let mut options = HubOptions::new("test");
        options.clients = vec![Listen { addr: self.address.clone(), security: Security::Plain }];
        options.data = Some(self.folder.path().join("data"));
        let hub = Hub::start(options).expect("a hub");
        self.address = hub.client_addresses()[0].clone();
        self.hub = Some(hub);
    }

    pub fn stop(&mut self) {
        if let Some(hub) = self.hub.take() {
            hub.stop().expect("a clean end");
        }
    }

    pub fn options(&self) -> ConnectOptions {
        ConnectOptions { retry_most: Duration::from_millis(50), ..ConnectOptions::new(&self.address) }
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.options()).await.expect("a connection")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop();
    }
}
