//! Names of images and digests, as people and archives write them.

use onggi_image::{Digest, Reference};

/// A name that was understood is one component after another that no file system reads as a way out, and reads as itself again.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(digest) = Digest::parse(text) {
        assert_eq!(digest.to_string(), text);
        assert!(digest.hex().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    let Ok(name) = Reference::parse(text) else { return };
    for whole in [name.to_string(), name.familiar()] {
        let again = Reference::parse(&whole).unwrap_or_else(|error| panic!("{whole:?} of {text:?}: {error}"));
        assert_eq!(again, name, "{whole:?} of {text:?}");
    }
    for part in name.path().split('/') {
        assert!(!matches!(part, "" | "." | ".."), "{part:?} in {text:?}");
    }
}
