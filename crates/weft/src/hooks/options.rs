//! What is configured of webhooks, `[[webhook]]`.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::Uri;

/// The most webhooks of a hub.
const MOST: usize = 64;
/// The most that is sent at a time, of all webhooks: each has a thread.
const MOST_AT_ONCE: usize = 128;

/// One webhook, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HookOptions {
    /// Its name; its consumer and its principal are `webhook-NAME`.
    pub(crate) name: String,
    /// The stream that it reads.
    pub(crate) stream: String,
    /// Which of its topics; none: all.
    pub(crate) filters: Vec<String>,
    /// Where events are sent.
    pub(crate) url: String,
    /// The file of the secret by which bodies are signed.
    pub(crate) secret: PathBuf,
    /// The file of authorities whose certificates the target may show; none: the machine's.
    pub(crate) ca: Option<PathBuf>,
    /// Loopback and link-local addresses may be the target's, and `http` without TLS.
    pub(crate) allow_local: bool,
    /// Events that are sent at a time; with one they are sent in order.
    pub(crate) concurrency: usize,
    /// How long one try may take.
    pub(crate) timeout: Duration,
    /// How often an event is tried, then it is a dead letter.
    pub(crate) tries: u32,
    /// The pause behind the first failure; it doubles.
    pub(crate) retry_first: Duration,
    /// The longest that it gets.
    pub(crate) retry_most: Duration,
}

impl HookOptions {
    /// With the defaults.
    pub(crate) fn new(name: String, stream: String, url: String, secret: PathBuf) -> Self {
        Self {
            name,
            stream,
            filters: Vec::new(),
            url,
            secret,
            ca: None,
            allow_local: false,
            concurrency: 2,
            timeout: Duration::from_secs(10),
            tries: 10,
            retry_first: Duration::from_secs(1),
            retry_most: Duration::from_secs(300),
        }
    }

    /// What contradicts itself, by the path of a key.
    pub(crate) fn violations(all: &[Self]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut add = |why: String| found.push(("webhook".to_owned(), why));
        if all.len() > MOST {
            add(format!("there are more than {MOST} webhooks: put some at other hubs"));
        }
        let at_once: usize = all.iter().map(|hook| hook.concurrency).sum();
        if at_once > MOST_AT_ONCE {
            add(format!("all `concurrency` together is {at_once}: take {MOST_AT_ONCE} at most, each has a thread"));
        }
        for (at, hook) in all.iter().enumerate() {
            let name = &hook.name;
            let mut say = |why: &str| add(format!("webhook `{name}`: {why}"));
            if !is_name(name, 48) {
                say("its name has 1 to 48 of a-z, 0-9 and -");
            }
            if all.iter().take(at).any(|other| other.name == *name) {
                say("its name is there twice");
            }
            if !is_name(&hook.stream, 64) {
                say("`stream` has 1 to 64 of a-z, 0-9 and -");
            }
            if let Some(why) = wrong_url(&hook.url, hook.allow_local) {
                say(why);
            }
            if !(1..=32).contains(&hook.concurrency) {
                say("take a `concurrency` from 1 to 32");
            }
            if !(1..=1_000).contains(&hook.tries) {
                say("take from 1 to 1000 `tries`");
            }
            let seconds = |from, to| Duration::from_millis(from)..=Duration::from_secs(to);
            if !seconds(100, 120).contains(&hook.timeout) {
                say("take a `timeout` from \"100 ms\" to \"2 min\"");
            }
            if !seconds(10, 3_600).contains(&hook.retry_first) || !seconds(10, 86_400).contains(&hook.retry_most) {
                say("take a `retry_first` from \"10 ms\" to \"1 h\" and a `retry_most` from \"10 ms\" to \"1 d\"");
            } else if hook.retry_first > hook.retry_most {
                say("its `retry_first` is longer than its `retry_most`");
            }
        }
        found
    }
}

fn is_name(name: &str, most: usize) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=most).contains(&name.len()) && name.bytes().all(known)
}

/// What is wrong with a URL.
fn wrong_url(url: &str, allow_local: bool) -> Option<&'static str> {
    let Ok(uri) = url.parse::<Uri>() else { return Some("`url` is no URL") };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Some("`url` begins with https:// and the name of a host");
    };
    if authority.as_str().contains('@') {
        return Some("`url` has a name or a password in it: it is signed by the secret instead");
    }
    match scheme {
        "https" => None,
        "http" if allow_local => None,
        "http" => Some("`url` goes without TLS: say https, or `allow_local = true`"),
        _ => Some("`url` begins with https://"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(change: impl FnOnce(&mut HookOptions)) -> Option<String> {
        let url = "https://example.com/hook".to_owned();
        let mut hook = HookOptions::new("a".to_owned(), "s".to_owned(), url, "secret".into());
        change(&mut hook);
        HookOptions::violations(&[hook]).pop().map(|(_, why)| why)
    }

    #[test]
    fn each_key_of_a_webhook_has_its_bounds() {
        assert_eq!(wrong(|_| ()), None);
        assert_eq!(wrong(|hook| (hook.url, hook.allow_local) = ("http://127.0.0.1:9/".to_owned(), true)), None);
        let urls = [
            "http://example.com/",
            "ftp://example.com/",
            "/hook",
            "example.com",
            "https://example.com@example.com/",
            "https:// x",
        ];
        for url in urls {
            assert!(wrong(|hook| url.clone_into(&mut hook.url)).is_some_and(|why| why.contains("url")), "{url}");
        }
        assert!(wrong(|hook| hook.name = "A b".to_owned()).is_some_and(|why| why.contains("name")));
        assert!(wrong(|hook| hook.stream.clear()).is_some_and(|why| why.contains("stream")));
        assert!(wrong(|hook| hook.concurrency = 0).is_some_and(|why| why.contains("concurrency")));
        assert!(wrong(|hook| hook.tries = 0).is_some_and(|why| why.contains("tries")));
        assert!(wrong(|hook| hook.timeout = Duration::ZERO).is_some_and(|why| why.contains("timeout")));
        assert!(wrong(|hook| hook.retry_first = Duration::ZERO).is_some_and(|why| why.contains("retry_first")));
        assert!(wrong(|hook| hook.retry_most = Duration::from_millis(20)).is_some_and(|why| why.contains("longer")));
        let one = HookOptions::new("a".to_owned(), "s".to_owned(), "https://example.com/".to_owned(), "x".into());
        let many = vec![HookOptions { concurrency: 32, ..one }; 65];
        let found = HookOptions::violations(&many);
        for part in ["more than 64", "together", "twice"] {
            assert!(found.iter().any(|(_, why)| why.contains(part)), "{part}");
        }
    }
}
