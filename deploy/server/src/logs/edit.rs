//! Changes in `chancery.toml` that leave everything else as it stands, comments too.

use anyhow::Context as _;
use toml_edit::{ArrayOfTables, DocumentMut, InlineTable, Item, Table, value};

use crate::config::{self, EndedConfig};

/// The file, being changed.
pub(super) struct Edited(DocumentMut);

impl Edited {
    /// Parses the file's text.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(Self(text.parse().context(config::FILE)?))
    }

    /// The new text.
    pub(super) fn text(&self) -> String {
        self.0.to_string()
    }

    /// Writes the end of the log `name` into its table.
    pub(super) fn end(&mut self, name: &str, ended: &EndedConfig) -> anyhow::Result<()> {
        let mut table = InlineTable::new();
        table.insert("until", ended.until.to_rfc3339().into());
        table.insert("size", i64::try_from(ended.size).context("a size beyond 2^63")?.into());
        if !ended.served {
            table.insert("served", false.into());
        }
        if !ended.trusted {
            table.insert("trusted", false.into());
        }
        self.log(name)?.insert("ended", value(table));
        Ok(())
    }

    /// Sets a text in the table of the log `name`.
    pub(super) fn set(&mut self, name: &str, key: &str, text: &str) -> anyhow::Result<()> {
        let item = self.log(name)?.get_mut(key).with_context(|| format!("log `{name}` has no `{key}`"))?;
        let decor = item.as_value().map(|value| value.decor().clone());
        *item = value(text);
        if let (Some(value), Some(decor)) = (item.as_value_mut(), decor) {
            *value.decor_mut() = decor;
        }
        Ok(())
    }

    /// Adds a `[[log]]` after the last one, with the `[log.admission]` and the `roots` of the log `like`, or admitting the
    /// own CA's signers where there is none and it matters.
    pub(super) fn add(&mut self, section: &str, like: Option<&str>) -> anyhow::Result<()> {
        let mut new: DocumentMut = section.parse().context("the new log's table")?;
        let tables = new.get_mut("log").and_then(Item::as_array_of_tables_mut).context("a `[[log]]`")?;
        let mut table = tables.get(0).context("a `[[log]]`")?.clone();
        self.admit_as(&mut table, like)?;
        let logs = self.0.entry("log").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
        let logs = logs.as_array_of_tables_mut().context("`log` in chancery.toml is no `[[log]]`")?;
        // Tables are written in the order of their positions, equal ones in that of the document.
        let last = logs.iter().filter_map(last_position).max().unwrap_or(usize::MAX);
        place(&mut table, last);
        logs.push(table);
        Ok(())
    }

    fn admit_as(&mut self, table: &mut Table, like: Option<&str>) -> anyhow::Result<()> {
        if let Some(like) = like {
            let old = self.log(like)?;
            for key in ["roots", "admission"] {
                let Some(mut item) = old.get(key).cloned() else { continue };
                // What is explained there need not be explained twice.
                if let Some(inner) = item.as_table_mut() {
                    inner.decor_mut().set_prefix("\n");
                }
                table.insert(key, item);
            }
        } else if table.get("dialect").and_then(Item::as_str) != Some("ct") {
            let mut admission = Table::new();
            admission.insert("signers", value("own-ca"));
            admission.decor_mut().set_prefix("\n");
            table.insert("admission", Item::Table(admission));
        }
        Ok(())
    }

    fn log(&mut self, name: &str) -> anyhow::Result<&mut Table> {
        let logs = self.0.get_mut("log").and_then(Item::as_array_of_tables_mut);
        let mut logs = logs.into_iter().flat_map(ArrayOfTables::iter_mut);
        let log = logs.find(|log| log.get("name").and_then(Item::as_str) == Some(name));
        log.with_context(|| format!("`[[log]]` with `name = \"{name}\"` is not found in {}", config::FILE))
    }
}

/// Where a table or the last one in it stands.
fn last_position(table: &Table) -> Option<usize> {
    let inner = table.iter().filter_map(|(_, item)| item.as_table()).filter_map(last_position);
    inner.chain(table.position()).max()
}

fn place(table: &mut Table, position: usize) {
    table.set_position(position);
    for (_, item) in table.iter_mut() {
        if let Some(inner) = item.as_table_mut() {
            place(inner, position);
        }
    }
}
