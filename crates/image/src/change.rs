//! The `--change` of import and commit: one Dockerfile instruction applied to a config.
//!
//! Only the instructions that change nothing but the config have a meaning here. Variables are not expanded; a bare `$` is refused
//! rather than kept by mistake.

use crate::config::{Config, Empty, Healthcheck};
use crate::error::{Error, excerpt};

/// Applies one instruction, such as `CMD ["nginx", "-g", "daemon off;"]` or `ENV A=b C="d e"`.
///
/// # Errors
/// [`Error::Change`] names the instruction and what is wrong with it, also for instructions that need a build.
pub fn apply_change(config: &mut Config, text: &str) -> Result<(), Error> {
    let trimmed = text.trim();
    let (instruction, rest) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
    let rest = rest.trim();
    apply(config, &instruction.to_ascii_uppercase(), rest)
        .map_err(|reason| Error::Change { text: excerpt(text), reason })
}

fn apply(config: &mut Config, instruction: &str, rest: &str) -> Result<(), String> {
    let known = [
        "CMD",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "LABEL",
        "ONBUILD",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
    ];
    if !known.contains(&instruction) {
        return Err(format!("{instruction} is not one of {}", known.join(", ")));
    }
    if rest.is_empty() {
        return Err(format!("{instruction} needs an argument"));
    }
    let run = &mut config.config;
    match instruction {
        "CMD" => run.cmd = Some(command(rest, run.shell.as_deref())),
        "ENTRYPOINT" => {
            run.entrypoint = Some(command(rest, run.shell.as_deref()));
        }
        "ENV" => {
            for (name, value) in pairs(rest)? {
                let start = format!("{name}=");
                run.env.retain(|entry| !entry.starts_with(&start));
                run.env.push(start + &value);
            }
        }
        "LABEL" => run.labels.extend(pairs(rest)?),
        "EXPOSE" => {
            for word in words(rest)? {
                for port in ports(&word)? {
                    run.exposed_ports.insert(port, Empty {});
                }
            }
        }
        "VOLUME" => {
            let volumes = match json_words(rest) {
                Some(volumes) => volumes,
                None => words(rest)?,
            };
            if volumes.iter().any(|volume| volume.trim().is_empty()) {
                return Err("VOLUME specified can not be an empty string".to_owned());
            }
            run.volumes.extend(volumes.into_iter().map(|volume| (volume, Empty {})));
        }
        "USER" => run.user = one_word(rest)?,
        "STOPSIGNAL" => run.stop_signal = one_word(rest)?,
        "WORKDIR" => run.working_dir = join(&run.working_dir, &unquoted(rest)?),
        "HEALTHCHECK" => run.healthcheck = Some(healthcheck(rest)?),
        _ => {
            let trigger = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            if matches!(trigger.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
                return Err(format!("{trigger} isn't allowed as an ONBUILD trigger"));
            }
            run.on_build.push(rest.to_owned());
        }
    }
    Ok(())
}

/// The JSON form as it stands, or a line for the shell.
fn command(rest: &str, shell: Option<&[String]>) -> Vec<String> {
    if let Some(words) = json_words(rest) {
        return words;
    }
    let mut words = shell.map_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()], <[String]>::to_vec);
    words.push(rest.to_owned());
    words
}

fn json_words(rest: &str) -> Option<Vec<String>> {
    rest.starts_with('[').then(|| serde_json::from_str(rest).ok()).flatten()
}

/// `a=b c="d e"`, or the old `name and all the rest`.
fn pairs(rest: &str) -> Result<Vec<(String, String)>, String> {
    let words = split(rest)?;
    if !words[0].contains('=') {
        let (name, value) = rest.split_once(char::is_whitespace).ok_or("a name needs a value")?;
        return Ok(vec![(unquoted(name)?, unquoted(value.trim())?)]);
    }
    let pair = |word: &String| {
        let (name, value) = word.split_once('=').ok_or_else(|| format!("{word:?} is not name=value"))?;
        let name = unquoted(name)?;
        if name.is_empty() {
            return Err(format!("{word:?} has no name"));
        }
        Ok((name, unquoted(value)?))
    };
    words.iter().map(pair).collect()
}

fn ports(word: &str) -> Result<Vec<String>, String> {
    let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    let number = |text: &str| text.parse::<u16>().map_err(|_| format!("invalid containerPort: {word}"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("invalid containerPort: {word}"));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn healthcheck(rest: &str) -> Result<Healthcheck, String> {
    let mut check = Healthcheck::default();
    let mut rest = rest;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) =
            option.split_once(char::is_whitespace).ok_or("HEALTHCHECK needs CMD or NONE")?;
        let (name, value) = option.split_once('=').ok_or_else(|| format!("--{option} needs a value"))?;
        match name {
            "interval" => check.interval = nanoseconds(value)?,
            "timeout" => check.timeout = nanoseconds(value)?,
            "start-period" => check.start_period = nanoseconds(value)?,
            "start-interval" => check.start_interval = nanoseconds(value)?,
            "retries" => {
                let retries = value.parse().ok().filter(|retries| *retries >= 0);
                check.retries = retries.ok_or("--retries must be a number from 0")?;
            }
            _ => return Err(format!("unknown flag: --{name}")),
        }
        rest = after.trim_start();
    }
    let (kind, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    check.test = match (kind.to_ascii_uppercase().as_str(), argument.trim()) {
        ("NONE", "") => vec!["NONE".to_owned()],
        ("CMD", line) if !line.is_empty() => match json_words(line) {
            Some(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
            None => vec!["CMD-SHELL".to_owned(), line.to_owned()],
        },
        _ => return Err("HEALTHCHECK needs CMD with a command, or NONE alone".to_owned()),
    };
    Ok(check)
}

/// Go's duration: numbers with units, `1m30s`, at least a millisecond (Docker's rule for health checks) or 0.
fn nanoseconds(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not a duration such as 30s or 1m30s");
    let mut rest = text;
    let mut total = 0_f64;
    while !rest.is_empty() && text != "0" {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |end| digits + end);
        let unit = match &rest[digits..unit_end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(wrong()),
        };
        total += number * unit;
        rest = &rest[unit_end..];
    }
    if text.is_empty() || total > 9e18 || (total > 0.0 && total < 1e6) {
        return Err(wrong());
    }
    #[allow(clippy::cast_possible_truncation)] // below i64::MAX, checked above
    Ok(total as i64)
}

fn join(base: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let mut parts = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn one_word(rest: &str) -> Result<String, String> {
    match words(rest)?.as_mut_slice() {
        [word] => Ok(std::mem::take(word)),
        _ => Err("exactly one argument is needed".to_owned()),
    }
}

fn words(rest: &str) -> Result<Vec<String>, String> {
    split(rest)?.iter().map(|word| unquoted(word)).collect()
}

/// Splits at blanks outside quotes, keeping quotes and backslashes.
fn split(rest: &str) -> Result<Vec<String>, String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    let mut characters = rest.chars();
    while let Some(c) = characters.next() {
        let last = words.len() - 1;
        match (quote, c) {
            (None | Some('"'), '\\') => {
                words[last].push(c);
                words[last].extend(characters.next());
                continue;
            }
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, _) if c.is_whitespace() => {
                words.push(String::new());
                continue;
            }
            _ => {}
        }
        words[last].push(c);
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.retain(|word| !word.is_empty());
    Ok(words)
}

/// Takes quotes and backslashes away, as the Dockerfile's shell words have them.
fn unquoted(word: &str) -> Result<String, String> {
    let mut text = String::new();
    let mut quote = None;
    let mut characters = word.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (None | Some('"'), '$') => {
                return Err("variables are not expanded in a change; write \\$ for a dollar".to_owned());
            }
            (None, '\\') => text.extend(characters.next()),
            (Some('"'), '\\') => match characters.next() {
                Some(next @ ('"' | '\\' | '$')) => text.push(next),
                Some(next) => text.extend(['\\', next]),
                None => text.push('\\'),
            },
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => text.push(c),
        }
    }
    match quote {
        Some(_) => Err("a quote is not closed".to_owned()),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn changed(changes: &[&str]) -> String {
        let mut config = Config::default();
        for change in changes {
            apply_change(&mut config, change).unwrap_or_else(|error| panic!("{change}: {error}"));
        }
        serde_json::to_string(&config.config).unwrap()
    }

    #[test]
    fn each_instruction_changes_its_field() {
        for (changes, json) in [
            (&["CMD [\"a\", \"b c\"]"][..], r#"{"Cmd":["a","b c"]}"#),
            (&["cmd echo hi"], r#"{"Cmd":["/bin/sh","-c","echo hi"]}"#),
            (&["ENTRYPOINT [\"/e\"]"], r#"{"Entrypoint":["/e"]}"#),
            (&["ENV A=b C=\"d e\" F=g\\ h", "ENV A=2"], r#"{"Env":["C=d e","F=g h","A=2"]}"#),
            (&["ENV name the rest of it"], r#"{"Env":["name=the rest of it"]}"#),
            (
                &["EXPOSE 80 53/udp 8000-8001"],
                r#"{"ExposedPorts":{"53/udp":{},"80/tcp":{},"8000/tcp":{},"8001/tcp":{}}}"#,
            ),
            (&["LABEL a=b 'c d'='$e'"], r#"{"Labels":{"a":"b","c d":"$e"}}"#),
            (&["USER 1000:1000"], r#"{"User":"1000:1000"}"#),
            (&["VOLUME /a /b", "VOLUME [\"/c d\"]"], r#"{"Volumes":{"/a":{},"/b":{},"/c d":{}}}"#),
            (&["WORKDIR /a", "WORKDIR b/../c"], r#"{"WorkingDir":"/a/c"}"#),
            (&["STOPSIGNAL SIGQUIT"], r#"{"StopSignal":"SIGQUIT"}"#),
            (&["ONBUILD RUN make"], r#"{"OnBuild":["RUN make"]}"#),
            (
                &["HEALTHCHECK --interval=1m30s --retries=2 CMD curl -f x"],
                r#"{"Healthcheck":{"Test":["CMD-SHELL","curl -f x"],"Interval":90000000000,"Retries":2}}"#,
            ),
            (&["HEALTHCHECK NONE"], r#"{"Healthcheck":{"Test":["NONE"]}}"#),
        ] {
            assert_eq!(changed(changes), json, "{changes:?}");
        }
    }

    #[test]
    fn what_has_no_meaning_here_is_refused() {
        for change in [
            "",
            "CMD",
            "RUN true",
            "FROM x",
            "COPY a b",
            "ENV",
            "ENV a",
            "ENV a=b c",
            "ENV =x",
            "ENV A=$B",
            "LABEL a=\"b",
            "EXPOSE x",
            "EXPOSE 70000",
            "EXPOSE 80/http",
            "EXPOSE 9-8",
            "USER a b",
            "ONBUILD FROM x",
            "HEALTHCHECK",
            "HEALTHCHECK CMD",
            "HEALTHCHECK --interval=1 CMD x",
            "HEALTHCHECK --x=1s CMD y",
            "VOLUME [\"\"]",
        ] {
            assert!(apply_change(&mut Config::default(), change).is_err(), "{change:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(
            instruction in "(CMD|ENTRYPOINT|ENV|EXPOSE|HEALTHCHECK|LABEL|ONBUILD|USER|VOLUME|WORKDIR|X)", rest in "\\PC{0,60}"
        ) {
            let _ = apply_change(&mut Config::default(), &format!("{instruction} {rest}"));
        }
    }
}
