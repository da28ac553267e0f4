//! `[[webhook]]`: where events are sent.

use std::path::Path;

use super::reader::{Problems, Section};
use crate::hooks::HookOptions;
use crate::time::show_duration;

pub(super) fn options(mut section: Section<'_, '_>, folder: &Path, problems: &mut Problems) -> Option<HookOptions> {
    let name = section.needed("name", "\"billing\"", problems);
    let stream = section.needed("stream", "\"orders\"", problems);
    let url = section.needed("url", "\"https://example.com/hook\"", problems);
    let secret = section.needed("secret", "\"billing.secret\"", problems).map(|path| folder.join(path));
    let (name, stream) = (name.unwrap_or_default(), stream.unwrap_or_default());
    let mut hook = HookOptions::new(name, stream, url.clone().unwrap_or_default(), secret.clone().unwrap_or_default());
    if let Some(value) = section.texts("filters", problems) {
        hook.filters = value;
    }
    hook.ca = section.text("ca", problems).map(|path| folder.join(path));
    if let Some(value) = section.boolean("allow_local", problems) {
        hook.allow_local = value;
    }
    if let Some(value) = section.number("concurrency", problems) {
        hook.concurrency = value;
    }
    if let Some(value) = section.duration("timeout", problems) {
        hook.timeout = value;
    }
    if let Some(value) = section.number("tries", problems) {
        hook.tries = value;
    }
    if let Some(value) = section.duration("retry_first", problems) {
        hook.retry_first = value;
    }
    if let Some(value) = section.duration("retry_most", problems) {
        hook.retry_most = value;
    }
    section.finish(problems);
    url.and(secret).map(|_| hook)
}

/// Its effective values, as a configuration.
pub(crate) fn show_webhook(hook: &HookOptions) -> String {
    let HookOptions { name, stream, filters, url, allow_local, concurrency, tries, .. } = hook;
    let secret = hook.secret.display().to_string();
    let ca = hook.ca.as_ref().map(|ca| format!("ca = {:?}\n", ca.display().to_string())).unwrap_or_default();
    let times = [hook.timeout, hook.retry_first, hook.retry_most].map(show_duration);
    let [timeout, first, most] = times;
    format!(
        "\n[[webhook]]\nname = {name:?}\nstream = {stream:?}\nfilters = {filters:?}\nurl = {url:?}\n\
         secret = {secret:?}\n{ca}allow_local = {allow_local}\nconcurrency = {concurrency}\ntimeout = \"{timeout}\"\n\
         tries = {tries}\nretry_first = \"{first}\"\nretry_most = \"{most}\"\n"
    )
}
