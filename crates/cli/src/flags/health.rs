//! `--health-…` and `--no-healthcheck`: what takes the place of the image's health check.

use clap::ArgMatches;
use onggi_image::config::Healthcheck;

use super::{is, number, parsed, text, time};
use crate::error::CliError;

/// `None`: the image's holds as it is.
pub(super) fn check(matches: &ArgMatches) -> Result<Option<Healthcheck>, CliError> {
    let check = Healthcheck {
        test: match text(matches, "health-cmd").filter(|line| !line.is_empty()) {
            Some(line) => vec!["CMD-SHELL".to_owned(), line.to_owned()],
            None => Vec::new(),
        },
        interval: span(matches, "health-interval")?,
        timeout: span(matches, "health-timeout")?,
        start_period: span(matches, "health-start-period")?,
        start_interval: span(matches, "health-start-interval")?,
        retries: match parsed(matches, "health-retries", number)?.unwrap_or(0) {
            retries if retries < 0 => return Err(CliError::invalid("--health-retries cannot be negative")),
            retries => retries,
        },
    };
    let given = check != Healthcheck::default();
    if is(matches, "no-healthcheck") {
        if given {
            return Err(CliError::invalid("--no-healthcheck conflicts with --health-* options"));
        }
        return Ok(Some(Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() }));
    }
    Ok(given.then_some(check))
}

/// Nanoseconds.
fn span(matches: &ArgMatches, name: &str) -> Result<i64, CliError> {
    let read = |text: &str| {
        if text.starts_with('-') {
            return Err(format!("--{name} cannot be negative"));
        }
        let span = if text == "0" {
            Some(0)
        } else {
            time::duration(text).and_then(|span| i64::try_from(span.as_nanos()).ok())
        };
        span.ok_or_else(|| format!("\"{text}\" is not a time: write 500ms, 30s or 1m30s"))
    };
    Ok(parsed(matches, name, read)?.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::container::run_flags;

    fn of(typed: &str) -> Result<Option<Healthcheck>, CliError> {
        let words = typed.split(' ').chain(["busybox"]);
        let matches = run_flags().no_binary_name(true).try_get_matches_from(words).unwrap();
        check(&matches)
    }

    #[test]
    fn health_checks() {
        assert_eq!(of("--health-interval=0").unwrap(), None);
        let check = of("--health-cmd=true --health-interval=1m30s --health-retries=3").unwrap().unwrap();
        assert_eq!(check.test, ["CMD-SHELL", "true"]);
        assert_eq!((check.interval, check.retries, check.timeout), (90_000_000_000, 3, 0));
        assert_eq!(of("--no-healthcheck").unwrap().unwrap().test, ["NONE"]);
        for bad in [
            "--no-healthcheck --health-cmd=true",
            "--health-interval=-1s",
            "--health-interval=5",
            "--health-retries=-1",
            "--health-retries=x",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
