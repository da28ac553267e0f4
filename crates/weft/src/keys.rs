//! The keys of encrypted streams, as they are named to a hub and to the tools
//! that work on what lies on disk.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use weft_log::{KEY_LEN, Keys, MAX_KEYS};
use zeroize::Zeroizing;

/// The largest file of keys read: each key in hexadecimal, and as much for
/// comments.
const MOST: usize = MAX_KEYS * KEY_LEN * 4;

/// The keys in a file that only its owner can read.
pub(crate) fn of_file(path: &Path) -> Result<Keys, String> {
    let failed = |e: std::io::Error| format!("the keys in `{}` cannot be read: {e}", path.display());
    let mut file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        let path = path.display();
        return Err(format!("`{path}` holds keys and others can read it: keep them out with `chmod 600 {path}`"));
    }
    // With room for all, so that no copy stays behind where it grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST + 1));
    file.by_ref().take(MOST as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MOST {
        return Err(format!(
            "`{}` has more than {MOST} bytes: it holds one key per line, nothing else",
            path.display()
        ));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("`{}` is no text", path.display()))?;
    Keys::parse(text).map_err(|e| format!("`{}`: {e}", path.display()))
}

/// The keys in a variable of the environment.
pub(crate) fn of_variable(name: &str) -> Result<Keys, String> {
    let text = std::env::var(name).map_err(|_| format!("the variable `{name}` is not set, or is no text: set it"))?;
    Keys::parse(&Zeroizing::new(text)).map_err(|e| format!("the variable `{name}`: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8], mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("it is written");
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).expect("its mode");
        file
    }

    #[test]
    fn a_file_is_its_owners_alone() {
        let text = "ab".repeat(KEY_LEN);
        for mode in [0o600, 0o400, 0o700] {
            assert!(of_file(file(text.as_bytes(), mode).path()).is_ok(), "{mode:o}");
        }
        for mode in [0o640, 0o604, 0o660, 0o602, 0o610, 0o644] {
            let why = of_file(file(text.as_bytes(), mode).path()).expect_err("others have a part in it");
            assert!(why.contains("chmod 600") && !why.contains(&text), "{mode:o}: {why}");
        }
    }

    #[test]
    fn what_holds_no_keys_is_refused_and_not_shown() {
        let long = vec![b'#'; MOST + 1];
        for (bytes, why) in [
            (&b""[..], "there is no key"),
            (b"secret", "line 1 is no key"),
            (&[0xff, 0xfe], "is no text"),
            (&long, "one key per line"),
        ] {
            let refused = of_file(file(bytes, 0o600).path()).expect_err("no keys");
            assert!(refused.contains(why) && !refused.contains("secret"), "{refused}");
        }
        assert!(of_file(Path::new("/nowhere/keys")).expect_err("no file").contains("cannot be read"));
        assert!(of_file(&std::env::temp_dir()).is_err(), "a folder is none");
        // Always set, and no key.
        let path = std::env::var("PATH").expect("it is set");
        let refused = of_variable("PATH").expect_err("no keys");
        assert!(refused.contains("`PATH`") && refused.contains("line 1") && !refused.contains(&path), "{refused}");
        assert!(of_variable("WEFT_NO_SUCH_VARIABLE").expect_err("it is not set").contains("is not set"));
    }
}
