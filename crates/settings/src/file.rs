//! One TOML file into settings; a missing file is no file, everything else that is odd is an error with a line number.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::keys::{self, KEYS, Raw};
use crate::{Error, Origin, Settings};

/// A configuration file longer than this is none.
const LONGEST: u64 = 1 << 20;

/// Applies the file, if there is one.
pub(crate) fn read(path: &Path, settings: &mut Settings) -> Result<(), Error> {
    let text = match read_limited(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        Err(source) => return Err(Error::Read { path: path.to_owned(), source }),
    };
    apply(path, &text, settings)
}

/// Applies every `*.toml` in the directory, by name.
pub(crate) fn read_directory(directory: &Path, settings: &mut Settings) -> Result<(), Error> {
    let wrap = |source| Error::Read { path: directory.to_owned(), source };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        Err(source) => return Err(wrap(source)),
    };
    let mut paths = Vec::<PathBuf>::new();
    for entry in entries {
        let path = entry.map_err(wrap)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().try_for_each(|path| read(path, settings))
}

fn read_limited(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, "longer than 1 MiB"));
    }
    Ok(text)
}

fn apply(path: &Path, text: &str, settings: &mut Settings) -> Result<(), Error> {
    let line_of = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
    let document = DeTable::parse(text).map_err(|error| Error::Syntax {
        path: path.to_owned(),
        line: line_of(error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })?;
    for (key, value) in document.get_ref() {
        let line = line_of(key.span().start);
        let name = key.get_ref();
        match value.get_ref() {
            DeValue::Table(table) if keys::is_table(name) => {
                for (inner, value) in table {
                    let line = line_of(inner.span().start);
                    set(path, line, &format!("{name}.{}", inner.get_ref()), value.get_ref(), settings)?;
                }
            }
            _ if keys::is_table(name) => {
                let message = format!("`{name}` is a table: write [{name}] and its keys below");
                return Err(Error::Syntax { path: path.to_owned(), line, message });
            }
            value => set(path, line, name, value, settings)?,
        }
    }
    Ok(())
}

fn set(
    path: &Path,
    line: usize,
    name: &str,
    value: &DeValue<'_>,
    settings: &mut Settings,
) -> Result<(), Error> {
    // `keep-blobs` and `keep_blobs` are one key: nobody should have to remember which of the two it is.
    let spelled = name.replace('-', "_");
    let Some(index) = KEYS.iter().position(|key| key.name == spelled) else {
        let nearest = keys::nearest(name);
        return Err(Error::UnknownKey { path: path.to_owned(), line, key: name.to_owned(), nearest });
    };
    let (raw, shown) = match value {
        DeValue::String(text) => (Raw::Text(text), format!("{text:?}")),
        DeValue::Integer(number) => (Raw::Text(number.as_str()), number.as_str().to_owned()),
        DeValue::Boolean(value) => (Raw::Other("true or false"), value.to_string()),
        DeValue::Float(_) => (Raw::Other("a fraction"), "…".to_owned()),
        DeValue::Datetime(_) => (Raw::Other("a date"), "…".to_owned()),
        DeValue::Array(_) => (Raw::Other("a list"), "[…]".to_owned()),
        DeValue::Table(_) => (Raw::Other("a table"), "{…}".to_owned()),
    };
    KEYS[index].set(settings, raw).map_err(|reason| Error::Value {
        path: path.to_owned(),
        line,
        key: name.to_owned(),
        value: shown,
        reason,
    })?;
    settings.origins[index] = Origin::File { path: path.to_owned(), line };
    Ok(())
}
