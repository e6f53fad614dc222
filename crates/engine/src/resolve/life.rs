//! How a life is watched and ended: health checks, the signal to stop, restarts, the log.

use onggi_image::config::{Healthcheck, RunConfig};
use onggi_settings::Settings;

use super::invalid;
use crate::error::Error;
use crate::flags;
use crate::record::Log;
use crate::request::{IpcMode, PidMode, Restart, RunRequest};

/// What a monitor starts again by itself must need nothing that another container may have changed meanwhile.
pub(crate) fn check_restart(request: &RunRequest) -> Result<(), Error> {
    if request.restart == Restart::No {
        return Ok(());
    }
    if request.remove {
        return Err(invalid("conflicting options: cannot specify both --restart and --rm"));
    }
    if matches!(request.pid, PidMode::Container(_)) || matches!(request.ipc, IpcMode::Container(_)) {
        let what = "a restart policy for a container that joins another's namespaces (--pid, --ipc)";
        return Err(Error::NotBuilt { what: what.to_owned() });
    }
    Ok(())
}

/// The name or number of a signal; empty for the default.
pub(super) fn stop_signal(request: &RunRequest, image: &RunConfig) -> Result<String, Error> {
    let signal = request.stop_signal.clone().unwrap_or_else(|| image.stop_signal.clone());
    if !signal.is_empty() {
        flags::signal(&signal).map_err(invalid)?;
    }
    Ok(signal)
}

/// The user's, each field that is empty from the image; an image's that says nothing is none.
pub(super) fn healthcheck(
    user: Option<&Healthcheck>,
    image: Option<&Healthcheck>,
) -> Result<Option<Healthcheck>, Error> {
    let mut check = user.cloned().unwrap_or_default();
    // Docker's smallest, since each run is a program started in the container.
    const SHORTEST: i64 = 1_000_000;
    for (what, time) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ] {
        if time != 0 && time < SHORTEST {
            return Err(invalid(format!("{what} in Healthcheck cannot be less than 1ms")));
        }
    }
    if check.retries < 0 {
        return Err(invalid("Retries in Healthcheck cannot be negative"));
    }
    if let Some(image) = image {
        if check.test.is_empty() {
            check.test.clone_from(&image.test);
        }
        for (mine, theirs) in [
            (&mut check.interval, image.interval),
            (&mut check.timeout, image.timeout),
            (&mut check.start_period, image.start_period),
            (&mut check.start_interval, image.start_interval),
            (&mut check.retries, image.retries),
        ] {
            if *mine == 0 {
                *mine = theirs;
            }
        }
    }
    Ok((!check.test.is_empty()).then_some(check))
}

pub(super) fn log(request: &RunRequest, settings: &Settings) -> Result<Log, Error> {
    let driver = match &request.log.driver {
        None => settings.log_driver,
        Some(name) => name.parse().map_err(|reason| invalid(format!("log driver {name}: {reason}")))?,
    };
    let max_file = request.log.max_file.unwrap_or(settings.log_max_file);
    if driver.name() == "none" && (request.log.max_size.is_some() || request.log.max_file.is_some()) {
        return Err(invalid("invalid logging opts for driver none"));
    }
    if max_file == 0 {
        return Err(invalid("invalid log option max-file: it must be at least 1"));
    }
    Ok(Log {
        driver: driver.name().to_owned(),
        max_size: request.log.max_size.unwrap_or(settings.log_max_size),
        max_file,
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn signals_to_stop_have_names() {
        samples::refused(&[(
            RunRequest { stop_signal: Some("SIGFOO".into()), ..RunRequest::default() },
            "Invalid signal: SIGFOO",
        )]);
    }
}
