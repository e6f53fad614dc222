//! `--format` and `--quiet` of the commands that list things.
//!
//! A list gives its rows as JSON objects of texts; which of them are shown, and how, is the same for all:
//! the command's own table, a template, a `table` of a template, or `json`.

use serde_json::{Map, Value};

use super::plain::plain;
use super::table;
use crate::error::CliError;
use crate::template::{Column, Methods, Options, Template};

/// One row: what `{{json .}}` prints, and what only methods see.
pub(crate) struct Row {
    pub(crate) fields: Map<String, Value>,
    /// For `{{.Label "key"}}`.
    pub(crate) labels: std::collections::BTreeMap<String, String>,
}

/// Column titles that are not the field's name in capitals with spaces between the words.
const TITLES: &[(&str, &str)] = &[
    ("ID", "ID"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("RunningFor", "CREATED"),
    ("LocalVolumes", "LOCAL VOLUMES"),
];

/// The text for all rows. `default` is the template of the table that a person gets; `titles` are the
/// command's own column titles (`IMAGE ID` for `ID`).
pub(crate) fn render(
    rows: &[Row],
    format: Option<&str>,
    default: &str,
    titles: &[(&str, &str)],
) -> Result<String, CliError> {
    let format = format.filter(|format| !format.is_empty()).unwrap_or(default);
    // Typed in a shell, a tab is mostly written as \t.
    let format = match format {
        "table" => default.to_owned(),
        "json" => "{{json .}}".to_owned(),
        other => other.replace("\\t", "\t").replace("\\n", "\n"),
    };
    let fail = |error| CliError::invalid(format!("template parsing error: {error}"));
    let (source, is_table) = match format.strip_prefix("table ") {
        Some(source) => (source.trim_start(), true),
        None => (format.as_str(), false),
    };
    let template = Template::parse(source).map_err(fail)?;
    let mut lines = Vec::new();
    for row in rows {
        let label = |name: &str, arguments: &[Value]| {
            let value = label(row, name, arguments)?;
            Some(value.map(|value| if is_table { plain_value(&value) } else { value }))
        };
        let methods: &Methods<'_> = &label;
        let options = Options { strict: true, methods: Some(methods), nulls: None };
        // A tab or a line break in a value must not become a column or a row.
        let fields = if is_table { plain_fields(&row.fields) } else { row.fields.clone() };
        let data = Value::Object(fields);
        lines.push(template.render(&data, &options).map_err(fail)?);
    }
    if is_table {
        lines.insert(0, header(&template, titles));
        let cells: Vec<Vec<String>> =
            lines.iter().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
        return Ok(table::lay_out(&cells));
    }
    Ok(lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect())
}

fn plain_fields(fields: &Map<String, Value>) -> Map<String, Value> {
    fields.iter().map(|(name, value)| (name.clone(), plain_value(value))).collect()
}

fn plain_value(value: &Value) -> Value {
    match value {
        Value::String(text) => plain(text).into_owned().into(),
        other => other.clone(),
    }
}

fn label(row: &Row, name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
    if name != "Label" {
        return None;
    }
    Some(match arguments {
        [Value::String(key)] => Ok(row.labels.get(key).cloned().unwrap_or_default().into()),
        _ => Err("it takes the name of a label".to_owned()),
    })
}

fn header(template: &Template, titles: &[(&str, &str)]) -> String {
    template
        .columns()
        .map(|column| match column {
            Column::Text(text) => text.to_owned(),
            Column::Field(name) => {
                let known = titles.iter().chain(TITLES).find(|(field, _)| *field == name);
                known.map_or_else(|| title(name), |(_, title)| (*title).to_owned())
            }
            Column::Other => String::new(),
        })
        .collect()
}

/// `VirtualSize` is `VIRTUAL SIZE`.
fn title(name: &str) -> String {
    let mut title = String::new();
    let mut before_upper = true;
    for letter in name.chars() {
        if letter.is_uppercase() && !before_upper {
            title.push(' ');
        }
        before_upper = letter.is_uppercase();
        title.extend(letter.to_uppercase());
    }
    title
}

/// A template for one value, such as `version`'s and `inspect`'s.
pub(crate) fn render_one(format: &str, data: &Value, strict: bool) -> Result<String, CliError> {
    let fail = |error| CliError::invalid(format!("template parsing error: {error}"));
    if format == "json" {
        return Ok(data.to_string());
    }
    let template = Template::parse(format).map_err(fail)?;
    template.render(data, &Options { strict, methods: None, nulls: Some(typed_null) }).map_err(fail)
}

/// How Docker, which has types, prints a list or a map that is `null` in its JSON.
fn typed_null(field: &str) -> Option<&'static str> {
    match field {
        "Aliases"
        | "Args"
        | "Binds"
        | "CapAdd"
        | "CapDrop"
        | "Cmd"
        | "DNSNames"
        | "DeviceCgroupRules"
        | "DeviceRequests"
        | "Devices"
        | "Dns"
        | "DnsOptions"
        | "DnsSearch"
        | "Entrypoint"
        | "Env"
        | "ExecIDs"
        | "ExtraHosts"
        | "GroupAdd"
        | "Layers"
        | "Links"
        | "Mounts"
        | "OnBuild"
        | "RepoDigests"
        | "RepoTags"
        | "SecondaryIPAddresses"
        | "SecondaryIPv6Addresses"
        | "SecurityOpt"
        | "Shell"
        | "Ulimits"
        | "VolumesFrom" => Some("[]"),
        "Annotations" | "DriverOpts" | "ExposedPorts" | "Labels" | "Networks" | "Options"
        | "PortBindings" | "Ports" | "StorageOpt" | "Sysctls" | "Tmpfs" | "Volumes" => Some("map[]"),
        _ => None,
    }
}

/// A list's flags.
pub(crate) fn format_flag() -> clap::Arg {
    crate::flags::value(
        "format",
        None,
        "TEMPLATE",
        "Print with a Go template: '{{.ID}}', 'table {{.ID}}', json",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_maps_that_are_null_print_empty() {
        let data = serde_json::json!({"Config": {"Cmd": null, "Volumes": null, "Health": null}});
        let text = render_one(
            "{{.Config.Cmd}} {{.Config.Volumes}} {{.Config.Health}} {{json .Config.Cmd}}",
            &data,
            true,
        );
        assert_eq!(text.unwrap(), "[] map[] <no value> null");
        assert_eq!(render_one("{{with .Config}}{{.Cmd}}{{end}}", &data, true).unwrap(), "[]");
        assert_eq!(render_one("{{range .Config.Cmd}}x{{end}}{{len .Config.Cmd}}", &data, true).unwrap(), "0");
    }

    fn rows() -> Vec<Row> {
        ["a", "b"]
            .iter()
            .map(|name| {
                let fields =
                    serde_json::json!({"ID": format!("0{name}"), "Names": name, "VirtualSize": "1B"});
                let labels = [("k".to_owned(), format!("v{name}"))].into();
                Row { fields: fields.as_object().cloned().unwrap_or_default(), labels }
            })
            .collect()
    }

    #[test]
    fn formats() {
        let default = "table {{.ID}}\t{{.Names}}";
        let text = |format| render(&rows(), format, default, &[("ID", "THING ID")]).unwrap();
        assert_eq!(text(None), "THING ID   NAMES\n0a         a\n0b         b\n");
        assert_eq!(text(Some("{{.Names}}")), "a\nb\n");
        assert_eq!(text(Some("{{.Label \"k\"}}")), "va\nvb\n");
        assert_eq!(
            text(Some("table {{.Names}}\\t{{.VirtualSize}}")),
            "NAMES     VIRTUAL SIZE\na         1B\nb         1B\n"
        );
        assert_eq!(
            text(Some("json")).lines().next().unwrap(),
            r#"{"ID":"0a","Names":"a","VirtualSize":"1B"}"#
        );
        let hostile = Row {
            fields: serde_json::json!({"ID": "a\tb\n\x1b[2J", "Names": "x"}).as_object().cloned().unwrap(),
            labels: [("k".to_owned(), "\n\x1b".to_owned())].into(),
        };
        let text = |format| render(std::slice::from_ref(&hostile), format, default, &[]).unwrap();
        assert_eq!(text(None), "ID              NAMES\na\\tb\\n\\x1b[2J   x\n");
        assert_eq!(text(Some("table {{.Label \"k\"}}")).lines().nth(1).unwrap(), "\\n\\x1b");
        assert_eq!(text(Some("{{.ID}}")), "a\tb\n\x1b[2J\n", "for programs it stays as it is");
        assert!(render(&rows(), Some("{{.Nope}}"), default, &[]).is_err());
        assert!(render(&[], Some("{{"), default, &[]).is_err());
    }
}
