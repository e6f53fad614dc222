//! runc's grammar of flags, which is that of Go's `flag`: `--name value`, `--name=value`, `-name value`; a switch takes a value only
//! after `=`. go-runc and conmon send all of these forms. Pure.

/// One flag.
#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) short: Option<&'static str>,
    /// What its value is called; `None` for a switch.
    pub(crate) value: Option<&'static str>,
    pub(crate) about: &'static str,
    /// The value has to be a number.
    is_number: bool,
}

impl Flag {
    pub(crate) const fn switch(name: &'static str, about: &'static str) -> Flag {
        Flag { name, short: None, value: None, about, is_number: false }
    }

    pub(crate) const fn with(name: &'static str, value: &'static str, about: &'static str) -> Flag {
        Flag { name, short: None, value: Some(value), about, is_number: false }
    }

    pub(crate) const fn number(mut self) -> Flag {
        self.is_number = true;
        self
    }

    pub(crate) const fn short(mut self, short: &'static str) -> Flag {
        self.short = Some(short);
        self
    }
}

/// What was given.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    flags: Vec<(&'static str, String)>,
    pub(crate) positional: Vec<String>,
}

impl Parsed {
    /// Whether a switch is on.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value == "true")
    }

    /// The last value of a flag.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.all(name).last()
    }

    /// Every value of a flag that may be given more than once.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.flags.iter().filter(move |(given, _)| *given == name).map(|(_, value)| value.as_str())
    }
}

/// Takes arguments apart. `stops`: flags end at the first argument that is none.
pub(crate) fn parse(flags: &'static [Flag], arguments: &[String], stops: bool) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let name = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
        let Some(name) = name.filter(|_| argument != "-") else {
            parsed.positional.push(argument.clone());
            if stops {
                break;
            }
            continue;
        };
        if argument == "--" {
            break;
        }
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let found = flags.iter().find(|flag| flag.name == name || flag.short == Some(name));
        let flag = match found {
            Some(flag) => flag,
            None if matches!(name, "help" | "h") => &HELP,
            None => return Err(format!("flag provided but not defined: -{name}")),
        };
        let value = match (flag.value, value) {
            (None, None) => "true".to_owned(),
            (None, Some(value)) => switch(&value)
                .ok_or_else(|| format!("invalid boolean value {value:?} for -{name}: parse error"))?,
            (Some(_), Some(value)) => value,
            (Some(_), None) => {
                rest.next().cloned().ok_or_else(|| format!("flag needs an argument: -{name}"))?
            }
        };
        if flag.is_number && value.parse::<i64>().is_err() {
            return Err(format!("invalid value {value:?} for flag -{name}: parse error"));
        }
        parsed.flags.push((flag.name, value));
    }
    parsed.positional.extend(rest.cloned());
    Ok(parsed)
}

const HELP: Flag = Flag::switch("help", "show this");

/// Go's `strconv.ParseBool`.
fn switch(value: &str) -> Option<String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some("true".to_owned()),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some("false".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag::with("bundle", "DIR", "").short("b"),
        Flag::with("env", "NAME=VALUE", "").short("e"),
        Flag::switch("detach", "").short("d"),
        Flag::switch("no-subreaper", ""),
    ];

    fn parsed(line: &str, stops: bool) -> Result<Parsed, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(FLAGS, &arguments, stops)
    }

    #[test]
    fn every_form_that_engines_send_is_the_same() {
        for line in
            ["--bundle /b -d jar", "-b=/b --detach jar", "-bundle /b jar --detach=true", "jar --bundle=/b -d"]
        {
            let parsed = parsed(line, false).unwrap();
            assert_eq!(parsed.value("bundle"), Some("/b"), "{line}");
            assert!(parsed.has("detach"), "{line}");
            assert_eq!(parsed.positional, ["jar"], "{line}");
        }
        // go-runc's one dash before a long name.
        assert!(parsed("-no-subreaper jar", false).unwrap().has("no-subreaper"));
        assert!(!parsed("--detach=false jar", false).unwrap().has("detach"));
    }

    #[test]
    fn flags_of_the_program_inside_are_its_own() {
        let parsed = parsed("-e A=1 --env B=2=3 jar ls -d --bundle x", true).unwrap();
        assert_eq!(parsed.all("env").collect::<Vec<_>>(), ["A=1", "B=2=3"]);
        assert_eq!(parsed.positional, ["jar", "ls", "-d", "--bundle", "x"]);
        let behind = super::parse(FLAGS, &["--".into(), "-d".into()], false).unwrap();
        assert_eq!(behind.positional, ["-d"]);
        assert_eq!(super::parse(FLAGS, &["-".into()], false).unwrap().positional, ["-"]);
    }

    #[test]
    fn what_is_wrong_is_said_as_go_says_it() {
        assert_eq!(parsed("--nonsense", false).unwrap_err(), "flag provided but not defined: -nonsense");
        assert_eq!(parsed("jar -b", false).unwrap_err(), "flag needs an argument: -b");
        const LIMIT: &[Flag] = &[Flag::with("limit", "N", "").number()];
        let number = super::parse(LIMIT, &["--limit=x".into()], false);
        assert_eq!(number.unwrap_err(), "invalid value \"x\" for flag -limit: parse error");
        assert!(parsed("--detach=perhaps", false).unwrap_err().contains("invalid boolean value"));
    }
}
