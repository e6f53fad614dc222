//! What commands print: tables, formats, and amounts as people read them.

pub(crate) mod archive;
pub(crate) mod human;
pub(crate) mod image;
pub(crate) mod list;
pub(crate) mod messages;
pub(crate) mod plain;
pub(crate) mod table;
pub(crate) mod tar;
