//! Names of containers and volumes: which are valid, and how one is made up.
//!
//! Made-up names have Docker's form, an adjective and the name of somebody who found or built something, so that scripts that know
//! the form keep working; the words are our own choice.

/// Docker's rule: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub(crate) fn is_valid(name: &str) -> bool {
    name.len() >= 2 && is_plain(name)
}

/// Whether a network may be called so: Podman's rule, since Docker has none; and it names a directory.
pub(crate) fn is_plain(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.len() <= 255
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// A name from 64 random bits; from the fifth attempt on with a number behind, so that a full house still finds one.
pub(crate) fn generate(random: u64, attempt: u32) -> String {
    let adjective = ADJECTIVES[(random % ADJECTIVES.len() as u64) as usize];
    let random = random / ADJECTIVES.len() as u64;
    let surname = SURNAMES[(random % SURNAMES.len() as u64) as usize];
    let random = random / SURNAMES.len() as u64;
    match attempt {
        0..4 => format!("{adjective}_{surname}"),
        _ => format!("{adjective}_{surname}{}", random % 10_u64.pow(attempt.min(9) - 3)),
    }
}

#[rustfmt::skip]
const ADJECTIVES: &[&str] = &[
    "able", "agile", "alert", "amber", "ample", "apt", "ardent", "astute", "autumnal", "avid", "balanced", "blithe", "bold",
    "brave", "breezy", "bright", "brisk", "bubbling", "calm", "candid", "careful", "cheerful", "civil", "clear", "clever",
    "composed", "cordial", "cosy", "crisp", "curious", "daring", "deft", "diligent", "dreamy", "driven", "eager", "earnest",
    "earthen", "easy", "elated", "elegant", "eloquent", "eminent", "equable", "exact", "fair", "fearless", "fermenting", "festive",
    "firm", "fluent", "fond", "frank", "friendly", "frosty", "gallant", "generous", "gentle", "genuine", "gifted", "glad",
    "glazed", "golden", "graceful", "grand", "grateful", "hardy", "hearty", "helpful", "honest", "hopeful", "humble", "humming",
    "ideal", "inspired", "inventive", "jaunty", "jolly", "jovial", "joyful", "keen", "kind", "kindly", "lasting", "learned",
    "light", "limber", "lively", "loyal", "lucid", "lucky", "lyrical", "mellow", "merry", "mighty", "mindful", "modest",
    "musing", "natty", "neat", "nimble", "noble", "nifty", "open", "orderly", "patient", "peaceful", "pensive", "placid",
    "playful", "plucky", "poised", "polite", "proud", "prudent", "quaint", "quick", "quiet", "radiant", "rapid", "ready",
    "robust", "rosy", "sage", "serene", "sharp", "silent", "simple", "sincere", "smiling", "snug", "sober", "solid", "spirited",
    "sprightly", "stately", "steady", "sterling", "stoic", "sturdy", "sunny", "supple", "sweet", "swift", "tactful", "tender",
    "thrifty", "tidy", "tireless", "tranquil", "trusting", "upbeat", "valiant", "vernal", "vibrant", "vigilant", "vivid", "warm",
    "wary", "watchful", "whimsical", "willing", "winged", "wintry", "wise", "witty", "wondrous", "worthy", "zealous", "zesty",
];

#[rustfmt::skip]
const SURNAMES: &[&str] = &[
    "abel", "ampere", "anning", "archimedes", "aryabhata", "avicenna", "babbage", "backus", "banach", "banneker", "bardeen", "bell",
    "bernoulli", "berzelius", "bessemer", "biruni", "blackwell", "bohr", "boltzmann", "boole", "bose", "brahe", "braille",
    "brunel", "buridan", "cantor", "carnot", "carson", "cassini", "cavendish", "celsius", "chandrasekhar", "chatelet", "chomsky",
    "church", "clarke", "conway", "copernicus", "coulomb", "crick", "curie", "cuvier", "daguerre", "dalton", "darwin", "davy",
    "dedekind", "descartes", "dijkstra", "dirac", "doppler", "eckert", "edison", "einstein", "eratosthenes", "erdos", "euclid",
    "euler", "faraday", "fermat", "fermi", "feynman", "fibonacci", "fleming", "foucault", "fourier", "franklin", "fresnel",
    "galileo", "galois", "galvani", "gauss", "germain", "gibbs", "goddard", "godel", "goodall", "gutenberg", "hall", "halley",
    "hamilton", "hamming", "harvey", "heisenberg", "helmholtz", "herschel", "hertz", "hilbert", "hipparchus", "hodgkin", "hooke",
    "hopper", "hubble", "humboldt", "huygens", "hypatia", "jacquard", "jang", "jenner", "joule", "kahn", "kelvin", "kepler",
    "khayyam", "khwarizmi", "kilby", "kirchhoff", "knuth", "koch", "kovalevskaya", "lagrange", "lamarr", "laplace", "lavoisier",
    "leakey", "leavitt", "leibniz", "linnaeus", "lister", "lomonosov", "lovelace", "mach", "marconi", "markov", "maxwell",
    "mccarthy", "mcclintock", "meitner", "mendel", "mendeleev", "mercator", "michelson", "milner", "mirzakhani", "montgolfier",
    "morse", "napier", "newton", "nightingale", "nobel", "noether", "oersted", "ohm", "oppenheimer", "otto", "pascal", "pasteur",
    "pauli", "payne", "peano", "perlman", "planck", "poincare", "ptolemy", "pythagoras", "ramanujan", "ramsay", "rayleigh",
    "riemann", "ritchie", "roentgen", "rubin", "rutherford", "sagan", "salk", "schrodinger", "shannon", "shen", "siemens", "snell",
    "somerville", "stevin", "stokes", "tesla", "thales", "thomson", "torricelli", "turing", "vesalius", "vinci", "volta", "wallace",
    "watt", "weber", "wegener", "wheatstone", "wiener", "wilkes", "wing", "wren", "wright", "wu", "yalow", "young", "yukawa",
    "zhang", "zuse",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_made_up_name_is_valid() {
        for (index, word) in ADJECTIVES.iter().chain(SURNAMES).enumerate() {
            assert!(is_valid(word) && word.bytes().all(|byte| byte.is_ascii_lowercase()), "{word}");
            assert!(
                !ADJECTIVES.iter().chain(SURNAMES).skip(index + 1).any(|other| other == word),
                "{word} twice"
            );
        }
    }

    #[test]
    fn there_are_many_and_more_behind_them() {
        let names: BTreeSet<String> = (0..50_000).map(|random| generate(random, 0)).collect();
        assert_eq!(names.len(), ADJECTIVES.len() * SURNAMES.len());
        let number = generate(u64::MAX, 6).trim_start_matches(|letter: char| !letter.is_ascii_digit()).len();
        assert!((1..=3).contains(&number));
    }

    #[test]
    fn validity() {
        for (name, valid) in [
            ("ab", true),
            ("a.b-c_d", true),
            ("0a", true),
            ("a", false),
            ("", false),
            ("-ab", false),
            ("a/b", false),
            ("a b", false),
            ("..", false),
            ("ö1", false),
        ] {
            assert_eq!(is_valid(name), valid, "{name}");
            assert_eq!(is_plain(name), valid || name == "a", "{name}");
        }
        assert!(is_plain(&"a".repeat(255)) && !is_plain(&"a".repeat(256)));
    }
}
