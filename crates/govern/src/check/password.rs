//! Hashes of passwords: Argon2id (RFC 9106) in PHC form, of a cost that a hub
//! gives. Checked before they are in the state, so that no login of another
//! makes a hub reckon for minutes.

/// Longest text of a hash.
const MAX_TEXT: usize = 256;
/// Most memory in KiB, passes and lanes; what `crates/login` takes.
const MOST: [(&str, u32); 3] = [("m", 64 << 10), ("t", 10), ("p", 4)];
/// Bytes of salt and of sum, as unpadded base64.
const SALT: std::ops::RangeInclusive<usize> = 11..=86;
const SUM: std::ops::RangeInclusive<usize> = 22..=86;

/// What is wrong with a text that is to be a hash. The text itself is not in it:
/// it may be a password.
pub(super) fn wrong(text: &str) -> Option<String> {
    const MAKE: &str = "make one with `weft identity hash`";
    let Some(rest) = text.strip_prefix("$argon2id$v=19$") else {
        let plain = if text.starts_with('$') { "of another algorithm" } else { "no hash, perhaps a plain password" };
        return Some(format!("what stands for the password is {plain}: documents have Argon2id hashes, {MAKE}"));
    };
    let form = || {
        Some(format!("the hash of the password is not of the form `$argon2id$v=19$m=..,t=..,p=..$SALT$SUM`: {MAKE}"))
    };
    let parts: Vec<&str> = rest.split('$').collect();
    let [cost, salt, sum] = parts.as_slice() else { return form() };
    let is_base64 = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
    if text.len() > MAX_TEXT || !is_base64(salt) || !is_base64(sum) {
        return form();
    }
    if !SALT.contains(&salt.len()) || !SUM.contains(&sum.len()) {
        return form();
    }
    let costs: Vec<&str> = cost.split(',').collect();
    if costs.len() != MOST.len() {
        return form();
    }
    for (cost, (name, most)) in costs.iter().zip(MOST) {
        let number = cost.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
        let Some(number) = number.and_then(|number| number.parse::<u32>().ok()) else { return form() };
        if number == 0 || number > most {
            return Some(format!("the hash of the password has `{cost}`, of which {most} is the most: {MAKE}"));
        }
    }
    None
}
