//! `onggi images`: what containers can start from.

use clap::{Arg, ArgMatches};
use jiff::Timestamp;
use onggi_image::Reference;
use onggi_store::ImageSummary;
use serde_json::{Map, Value, json};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, filter, filters, is, switch, text};
use crate::output::human;
use crate::output::list::{self, Row, format_flag};

pub(crate) const COMMAND: Command = Command {
    names: &["images", "image ls", "image list"],
    group: Group::Images,
    about: "List images",
    build,
    run,
    failure: 1,
    examples: &[
        ("images", "All of them"),
        ("images debian", "Those of one repository"),
        ("images --format '{{.ID}} {{.Size}}' --no-trunc", "For a script"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi images [OPTIONS] [REPOSITORY[:TAG]]")
        .arg(switch("all", Some('a'), "Also images without a name; they are shown anyway"))
        .arg(switch("digests", None, "With digests"))
        .arg(filter())
        .arg(format_flag())
        .arg(switch("no-trunc", None, "Do not shorten ids"))
        .arg(switch("quiet", Some('q'), "Only ids"))
        .arg(Arg::new("repository").value_name("REPOSITORY[:TAG]").help("Only images of this name"))
}

const TABLE: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
const WITH_DIGESTS: &str =
    "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let mut conditions = filters(matches)?;
    if let Some(name) = text(matches, "repository") {
        conditions.entry("reference".to_owned()).or_default().push(name.to_owned());
    }
    let images = context.store()?.images()?;
    let keep = Conditions::read(&conditions, &images)?;
    let (digests, whole) = (is(matches, "digests"), is(matches, "no-trunc"));
    let now = Timestamp::now();
    let mut rows = Vec::new();
    for image in images.iter().filter(|image| keep.fits(image)) {
        let names: Vec<Option<&Reference>> = match image.names.as_slice() {
            [] => vec![None],
            names => names.iter().map(Some).collect(),
        };
        for name in names.into_iter().filter(|name| keep.shows(image, *name)) {
            rows.push(row(image, name, whole, now));
        }
    }
    let quiet = is(matches, "quiet");
    if quiet {
        // An image of several names has one id.
        rows.dedup_by(|a, b| a.fields["ID"] == b.fields["ID"]);
    }
    let default = match () {
        () if quiet => "{{.ID}}",
        () if digests => WITH_DIGESTS,
        () => TABLE,
    };
    let format = if quiet { None } else { text(matches, "format") };
    context.print(&list::render(
        &rows,
        format,
        default,
        &[("ID", "IMAGE ID"), ("CreatedSince", "CREATED")],
    )?)?;
    Ok(0)
}

fn row(image: &ImageSummary, name: Option<&Reference>, whole: bool, now: Timestamp) -> Row {
    let created = human::timestamp(&image.created);
    let none = || "<none>".to_owned();
    let id = if whole { image.id.to_string() } else { image.id.short().to_owned() };
    let fields = json!({
        "Containers": "N/A",
        "CreatedAt": human::created_at(created),
        "CreatedSince": human::ago(created, now),
        "Digest": name.map_or(&image.digest, |name| image.digest_of(name)).to_string(),
        "ID": id,
        "Owner": name.map_or(&image.owner, |name| image.owner_of(name)).to_string(),
        "Repository": name.map_or_else(none, Reference::familiar_repository),
        "SharedSize": "N/A",
        "Size": human::size(image.size, 3),
        "Tag": name.and_then(Reference::tag).map_or_else(none, str::to_owned),
        "UniqueSize": "N/A",
        "VirtualSize": human::size(image.size, 3),
    });
    let fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
    Row { fields, labels: image.labels.iter().cloned().collect() }
}

/// `--filter` and the name behind the flags.
struct Conditions {
    references: Vec<String>,
    labels: Vec<String>,
    dangling: Option<bool>,
    /// Whose the name is, or the image that has none.
    owner: Option<String>,
    /// Created before, since (RFC 3339).
    before: Option<String>,
    since: Option<String>,
    /// Nanoseconds since 1970.
    until: Option<i64>,
}

impl Conditions {
    fn read(
        filters: &std::collections::BTreeMap<String, Vec<String>>,
        images: &[ImageSummary],
    ) -> Result<Conditions, CliError> {
        let mut conditions = Conditions {
            references: Vec::new(),
            labels: Vec::new(),
            dangling: None,
            owner: None,
            before: None,
            since: None,
            until: None,
        };
        for (key, values) in filters {
            let last = values.last().cloned().unwrap_or_default();
            match key.as_str() {
                "reference" => conditions.references.clone_from(values),
                "label" => conditions.labels.clone_from(values),
                "owner" => conditions.owner = Some(last),
                "dangling" => {
                    conditions.dangling = Some(match last.as_str() {
                        "true" | "1" => true,
                        "false" | "0" => false,
                        _ => {
                            return Err(CliError::flag(
                                "filter",
                                format!("dangling={last} is not true or false"),
                            ));
                        }
                    });
                }
                "before" | "since" => {
                    let wanted = Reference::parse(&last).ok();
                    let found = images.iter().find(|image| {
                        image.id.hex().starts_with(last.trim_start_matches("sha256:"))
                            || wanted.as_ref().is_some_and(|wanted| image.names.contains(wanted))
                    });
                    let created = found.map(|image| image.created.clone());
                    let Some(created) = created else {
                        return Err(CliError::not_found(format!("No such image: {last}")));
                    };
                    *(if key == "before" { &mut conditions.before } else { &mut conditions.since }) =
                        Some(created);
                }
                "until" => {
                    let until = flags::time::moment(&last, Timestamp::now());
                    conditions.until = Some(until.map_err(|problem| CliError::flag("filter", problem))?);
                }
                _ => return Err(CliError::flag("filter", format!("there is no filter {key} for images"))),
            }
        }
        Ok(conditions)
    }

    fn fits(&self, image: &ImageSummary) -> bool {
        let moment = human::timestamp(&image.created);
        let has = |wanted: &String| {
            let (key, value) = wanted.split_once('=').map_or((wanted.as_str(), None), |(k, v)| (k, Some(v)));
            image.labels.iter().any(|(k, v)| k == key && value.is_none_or(|value| value == v))
        };
        self.labels.iter().all(has)
            && self
                .until
                .is_none_or(|until| moment.is_some_and(|moment| moment.as_nanosecond() < i128::from(until)))
            && self.dangling.is_none_or(|dangling| dangling == image.names.is_empty())
            && self.before.as_ref().is_none_or(|other| moment < human::timestamp(other))
            && self.since.as_ref().is_none_or(|other| moment > human::timestamp(other))
    }

    fn shows(&self, image: &ImageSummary, name: Option<&Reference>) -> bool {
        let owner = name.map_or(&image.owner, |name| image.owner_of(name));
        if self.owner.as_ref().is_some_and(|wanted| *wanted != owner.to_string()) {
            return false;
        }
        let Some(name) = name else { return self.references.is_empty() };
        let fits = |pattern: &String| {
            let (repository, tag) = (name.familiar_repository(), name.tag().unwrap_or_default());
            let full = format!("{repository}:{tag}");
            [repository.as_str(), &full, &name.to_string()].iter().any(|text| matches_glob(pattern, text))
        };
        self.references.is_empty() || self.references.iter().any(fits)
    }
}

/// Go's path.Match: `*` and `?` stop at a slash; `[a-z]`, `[^a-z]`, and `\` before what is meant as it stands.
fn matches_glob(pattern: &str, text: &str) -> bool {
    let mut letters = pattern.chars();
    match letters.next() {
        Some('[') => {
            let Some((class, rest)) = letters.as_str().split_once(']') else { return false };
            let (negated, class) = class.strip_prefix('^').map_or((false, class), |class| (true, class));
            let mut others = text.chars();
            let Some(other) = others.next() else { return false };
            let mut class = class.chars().peekable();
            let mut within = false;
            while let Some(low) = class.next() {
                let high = class.next_if_eq(&'-').and_then(|_| class.next()).unwrap_or(low);
                within |= (low..=high).contains(&other);
            }
            within != negated && matches_glob(rest, others.as_str())
        }
        Some('\\') => {
            let (escaped, other) = (letters.next(), text.chars().next());
            escaped.is_some() && escaped == other && {
                let (mut rest, letters) = (text.chars(), letters.as_str());
                rest.next();
                matches_glob(letters, rest.as_str())
            }
        }
        None => text.is_empty(),
        Some('*') => {
            let rest = letters.as_str();
            let ends = text.char_indices().map(|(n, _)| n).chain([text.len()]);
            ends.take_while(|n| !text[..*n].contains('/')).any(|n| matches_glob(rest, &text[n..]))
        }
        Some(letter) => {
            let mut others = text.chars();
            let fits = others.next().is_some_and(|other| other == letter || (letter == '?' && other != '/'));
            fits && matches_glob(letters.as_str(), others.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches_glob;

    #[test]
    fn globs() {
        for (pattern, text, fits) in [
            ("debian", "debian", true),
            ("deb*", "debian", true),
            ("*", "a/b", false),
            ("*/b", "a/b", true),
            ("debian:1?", "debian:12", true),
            ("debian", "debian:12", false),
            ("**", "abc", true),
            ("debian:1[0-2]", "debian:12", true),
            ("debian:1[0-2]", "debian:13", false),
            ("[^a-c]usy*", "busybox", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
        ] {
            assert_eq!(matches_glob(pattern, text), fits, "{pattern} {text}");
        }
    }
}
