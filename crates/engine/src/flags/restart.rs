//! `--restart`, with the sentences of Docker's client and daemon.

use crate::request::Restart;

/// `no`, `always`, `unless-stopped` or `on-failure[:MOST]`; empty is `no`.
///
/// # Errors
/// No such policy, or a number where none belongs.
pub fn restart(text: &str) -> Result<Restart, String> {
    let (name, most) = match text.split_once(':') {
        Some(("", _)) => {
            return Err("invalid restart policy format: no policy provided before colon".to_owned());
        }
        Some((name, most)) => (name, Some(most)),
        None => (text, None),
    };
    let most: Option<i64> = most
        .map(str::parse)
        .transpose()
        .map_err(|_| "invalid restart policy format: maximum retry count must be an integer".to_owned())?;
    let policy = match name {
        "" | "no" => Restart::No,
        "always" => Restart::Always,
        "unless-stopped" => Restart::UnlessStopped,
        "on-failure" => {
            let negative = || "invalid restart policy: maximum retry count cannot be negative".to_owned();
            return Ok(Restart::OnFailure {
                most: u32::try_from(most.unwrap_or(0)).map_err(|_| negative())?,
            });
        }
        _ => {
            return Err(format!(
                "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            ));
        }
    };
    match most {
        None | Some(0) => Ok(policy),
        Some(_) => {
            Err("invalid restart policy: maximum retry count can only be used with 'on-failure'".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        for (text, wanted) in [
            ("", Ok(Restart::No)),
            ("no", Ok(Restart::No)),
            ("always", Ok(Restart::Always)),
            ("unless-stopped", Ok(Restart::UnlessStopped)),
            ("on-failure", Ok(Restart::OnFailure { most: 0 })),
            ("on-failure:3", Ok(Restart::OnFailure { most: 3 })),
            ("always:0", Ok(Restart::Always)),
            ("foo", Err("unknown policy 'foo'")),
            (":3", Err("no policy provided before colon")),
            ("always:3", Err("can only be used with 'on-failure'")),
            ("on-failure:x", Err("must be an integer")),
            ("on-failure:-1", Err("cannot be negative")),
        ] {
            match (restart(text), wanted) {
                (Ok(policy), Ok(wanted)) => assert_eq!(policy, wanted, "{text}"),
                (Err(problem), Err(wanted)) => assert!(problem.contains(wanted), "{text}: {problem}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }
}
