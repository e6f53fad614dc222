//! `onggi man`: manual pages, made from the same definitions as `--help`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::{Arg, ArgMatches};

use crate::command::{Command, Group, lookup, lookup_word};
use crate::commands::TABLE;
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, text, texts, value};
use crate::help;

pub(crate) const COMMAND: Command = Command {
    names: &["man"],
    group: Group::Host,
    about: "Print a manual page, or write all of them to a directory",
    build,
    run,
    failure: 1,
    examples: &[
        ("man run | man -l -", "Read one"),
        ("man --directory /usr/local/share/man/man1", "Install all"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi man [OPTIONS] [COMMAND...]")
        .arg(value("directory", Some('d'), "DIR", "Write all pages there"))
        .arg(
            Arg::new("names")
                .value_name("COMMAND")
                .num_args(0..)
                .help("Whose page to print; onggi's own by default"),
        )
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    if let Some(directory) = text(matches, "directory") {
        return write_all(Path::new(directory)).map(|()| 0);
    }
    let words = texts(matches, "names");
    let found = match words.as_slice() {
        [] => return context.print(&overview()).map(|()| 0),
        [word] => {
            // As the page calls itself, too.
            let name = word.strip_prefix("onggi-").unwrap_or(word);
            let parts = || name.split_once('-').and_then(|(noun, verb)| lookup(noun, verb));
            lookup_word(name).or_else(parts)
        }
        [noun, verb] => lookup(noun, verb),
        _ => None,
    };
    let (command, path) =
        found.ok_or_else(|| CliError::invalid(format!("'{}' is not an onggi command", words.join(" "))))?;
    context.print(&page(command, path))?;
    Ok(0)
}

fn write_all(directory: &Path) -> Result<(), CliError> {
    let fail = |path: &Path, error| CliError::io(format!("write {}", path.display()), &error);
    fs::create_dir_all(directory).map_err(|error| fail(directory, error))?;
    let listed = TABLE.iter().filter(|command| command.group != Group::Hidden);
    let pages = listed.map(|command| (title(command.name()), page(command, command.name())));
    for (title, page) in pages.chain([("onggi".to_owned(), overview())]) {
        let path = directory.join(format!("{title}.1"));
        fs::write(&path, page).map_err(|error| fail(&path, error))?;
    }
    Ok(())
}

/// Pages are called `onggi-volume-ls`.
fn title(path: &str) -> String {
    format!("onggi-{}", path.replace(' ', "-"))
}

/// `onggi(1)`.
fn overview() -> String {
    let mut page = head("onggi", "keep images and run containers");
    page.push_str(".SH SYNOPSIS\n\\fBonggi\\fR [\\fB\\-\\-root\\fR \\fIDIR\\fR] [\\fB\\-\\-run\\-root\\fR \\fIDIR\\fR] \\fICOMMAND\\fR ...\n");
    page.push_str(".SH OPTIONS\n");
    for (flag, about) in [
        ("--root DIR", "Where everything is kept; /var/lib/onggi for root"),
        ("--run-root DIR", "Where the live files of running containers are; /run/onggi for root"),
        ("-h, --help", "List the commands"),
        ("-v, --version", "Show the version"),
    ] {
        entry(&mut page, flag, about);
    }
    page.push_str(".SH COMMANDS\n");
    for (group, heading) in help::GROUPS {
        let _ = writeln!(page, ".SS {}", escaped(heading));
        for command in TABLE.iter().filter(|command| command.group == *group) {
            entry(&mut page, &format!("{}(1)", title(command.name())), command.about);
        }
    }
    page.push_str(".SH FILES\n");
    entry(&mut page, "/etc/onggi/onggi.toml", "Settings; `onggi config show --origin` lists them all");
    page
}

/// The page of one command, under the name that leads to it.
fn page(command: &Command, path: &'static str) -> String {
    let mut tree = command.tree(path);
    tree.build();
    let usage = tree.render_usage().to_string();
    let mut page = head(&title(path), command.about);
    let _ = writeln!(page, ".SH SYNOPSIS\n{}", escaped(usage.trim_start_matches("Usage: ").trim()));
    let visible: Vec<&Arg> = help::visible(&tree);
    for heading in help::headings(&visible) {
        let _ = writeln!(page, ".SH {}", escaped(&heading.to_uppercase()));
        for arg in visible.iter().filter(|arg| help::heading(arg) == heading) {
            let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
            entry(&mut page, help::spelled(arg).trim_start(), &about);
        }
    }
    if !command.examples.is_empty() {
        page.push_str(".SH EXAMPLES\n");
        for (line, meaning) in command.examples {
            let _ = writeln!(
                page,
                ".PP\n{}\n.PP\n.RS 4\n.nf\nonggi {}\n.fi\n.RE",
                escaped(meaning),
                escaped(line)
            );
        }
    }
    let others: Vec<String> =
        command.names.iter().filter(|name| **name != path).map(|name| format!("onggi {name}")).collect();
    if !others.is_empty() {
        let _ = writeln!(page, ".SH OTHER NAMES\n{}", escaped(&others.join(", ")));
    }
    page.push_str(".SH EXIT STATUS\n");
    page.push_str(match command.failure {
        125 => "That of the program in the container; 125 if Onggi itself failed, 126 if the program cannot be run, 127 if it is not there.\n",
        _ => "0; 1 if something failed; 125 for a flag that there is not, or a value that it does not take.\n",
    });
    page.push_str(".SH SEE ALSO\n\\fBonggi\\fR(1)\n");
    page
}

fn head(title: &str, about: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        ".TH {} 1 \"\" \"onggi {version}\" \"Onggi\"\n.SH NAME\n{} \\- {}\n",
        escaped(&title.to_uppercase()),
        escaped(title),
        escaped(about)
    )
}

/// What is typed in bold, then what it means.
fn entry(page: &mut String, typed: &str, about: &str) {
    let _ = writeln!(page, ".TP\n\\fB{}\\fR\n{}", escaped(typed).trim_start_matches("\\&"), escaped(about));
}

/// For roff: hyphens that can be copied, no escapes, letters beyond ASCII by number or in ASCII, and no line that begins as a request does.
fn escaped(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '\\' => ascii.push_str("\\e"),
            '-' => ascii.push_str("\\-"),
            // No letter of an ASCII terminal, where man would warn.
            '…' => ascii.push_str("..."),
            letter if letter.is_ascii() => ascii.push(letter),
            letter => ascii.push_str(&format!("\\[u{:04X}]", u32::from(letter))),
        }
    }
    let text = ascii;
    text.lines()
        .map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() })
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_a_request_of_roff() {
        assert_eq!(escaped("a… 김"), "a... \\[uAE40]");
        assert_eq!(escaped("… and"), "\\&... and");
        assert_eq!(escaped(".SH no\na-b \\n\n'x"), "\\&.SH no\na\\-b \\en\n\\&'x");
    }

    #[test]
    fn a_page_has_its_sections_in_order() {
        for (command, path) in TABLE.iter().map(|command| (command, command.name())) {
            let page = page(command, path);
            let sections: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
            assert_eq!(sections[..2], ["NAME", "SYNOPSIS"], "{path}");
            assert_eq!(sections.last(), Some(&"SEE ALSO"), "{path}");
            assert_eq!(sections.contains(&"EXAMPLES"), !command.examples.is_empty(), "{path}");
        }
    }
}
