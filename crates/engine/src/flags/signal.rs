//! The names and numbers of signals, as Docker knows them.

/// A signal's number from `TERM`, `SIGTERM`, `sigterm`, `15` or `RTMIN+3`.
///
/// # Errors
/// No such signal on Linux.
pub fn signal(text: &str) -> Result<i32, String> {
    let invalid = || format!("Invalid signal: {text}");
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    // The C library keeps 32 and 33 for itself, so that RTMIN is 34, as in Docker's table.
    let real_time = name
        .strip_prefix("RTMIN+")
        .and_then(|offset| offset.parse().ok().map(|offset: i32| 34 + offset))
        .or_else(|| {
            name.strip_prefix("RTMAX-").and_then(|offset| offset.parse().ok().map(|offset: i32| 64 - offset))
        });
    real_time.filter(|number| (34..=64).contains(number)).ok_or_else(invalid)
}

const SIGNALS: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("UNUSED", 31),
    ("RTMIN", 34),
    ("RTMAX", 64),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for (text, number) in [("TERM", 15), ("sigkill", 9), ("SIGRTMIN+3", 37), ("9", 9), ("RTMAX-1", 63)] {
            assert_eq!(signal(text), Ok(number), "{text}");
        }
        for text in ["", "0", "65", "SIGFOO", "RTMIN+31", "-9"] {
            assert!(signal(text).is_err(), "{text}");
        }
    }
}
