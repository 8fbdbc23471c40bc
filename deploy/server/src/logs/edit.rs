//! Changes in `chancery.toml` that leave everything else as it stands, comments too.

use anyhow::Context as _;
use chancery_tlog::clock::Timestamp;
use toml_edit::{ArrayOfTables, DocumentMut, InlineTable, Item, Table, value};

use crate::config::{self, EndedConfig, PastChain};

/// The file, being changed.
pub(crate) struct Edited(DocumentMut);

impl Edited {
    /// Parses the file's text.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(Self(text.parse().context(config::FILE)?))
    }

    /// The new text.
    pub(crate) fn text(&self) -> String {
        self.0.to_string()
    }

    /// Writes the end of the log `name` into its table.
    pub(crate) fn end(&mut self, name: &str, ended: &EndedConfig) -> anyhow::Result<()> {
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
    pub(crate) fn set(&mut self, name: &str, key: &str, text: &str) -> anyhow::Result<()> {
        change(self.log(name)?, key, text).with_context(|| format!("log `{name}` has no `{key}`"))
    }

    /// Adds a `[[log]]` after the last one, with the `[log.admission]` and the `roots` of the log `like`, or admitting the
    /// own CA's signers where there is none and it matters.
    pub(crate) fn add(&mut self, section: &str, like: Option<&str>) -> anyhow::Result<()> {
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

    /// Puts another chain with its key into service in the table of `role`, and takes away the one to come.
    pub(crate) fn serve_chain(
        &mut self,
        role: &str,
        chain: &str,
        key: &str,
        since: Timestamp,
    ) -> anyhow::Result<()> {
        let table = self.role(role)?;
        for (entry, text) in [("chain", chain), ("key", key), ("since", &*since.to_rfc3339())] {
            change(table, entry, text).with_context(|| format!("`[{role}]` has no `{entry}`"))?;
        }
        table.remove("next");
        Ok(())
    }

    /// Writes the start of trust of the issuance log of another process where the CA's stood for it, before that moves. A
    /// log that environment variables name is not in the file.
    pub(crate) fn date_issuance_log(&mut self, since: Timestamp) -> anyhow::Result<()> {
        let Some(log) = self.role("ca")?.get_mut("issuance_log") else { return Ok(()) };
        if let Some(log) = log.as_inline_table_mut().filter(|log| !log.contains_key("since")) {
            log.insert("since", since.to_rfc3339().into());
            log.fmt();
        } else if let Some(log) = log.as_table_mut().filter(|log| !log.contains_key("since")) {
            log.insert("since", value(since.to_rfc3339()));
        }
        Ok(())
    }

    /// Writes the chain to come into the table of `role`.
    pub(crate) fn prepare_chain(
        &mut self,
        role: &str,
        chain: &str,
        key: &str,
        since: Timestamp,
    ) -> anyhow::Result<()> {
        let mut next = Table::new();
        next.insert("chain", value(chain));
        next.insert("key", value(key));
        next.insert("since", value(since.to_rfc3339()));
        self.insert_below(role, "next", next)
    }

    /// Adds a chain of the past to the table of `role`.
    pub(crate) fn end_chain(&mut self, role: &str, past: &PastChain, chain: &str) -> anyhow::Result<()> {
        let mut table = Table::new();
        table.insert("name", value(&past.name));
        table.insert("chain", value(chain));
        table.insert("since", value(past.since.to_rfc3339()));
        table.insert("until", value(past.until.to_rfc3339()));
        if let Some(reason) = &past.withdrawn {
            table.insert("withdrawn", value(reason));
        }
        let role = self.role(role)?;
        let last = last_position(role).unwrap_or(usize::MAX);
        table.decor_mut().set_prefix("\n");
        place(&mut table, last);
        let tables = role.entry("past").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
        tables.as_array_of_tables_mut().context("`past` is no array of tables")?.push(table);
        Ok(())
    }

    /// Adds trust of another host of this instance, or puts another file into its table.
    pub(crate) fn merge(&mut self, name: &str, file: &str) -> anyhow::Result<()> {
        let tables = self.0.entry("merged").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
        let tables = tables.as_array_of_tables_mut().context("`merged` is no `[[merged]]`")?;
        let is_it = |table: &Table| table.get("name").and_then(Item::as_str) == Some(name);
        let known = tables.iter().position(is_it);
        if let Some(known) = known.and_then(|at| tables.get_mut(at)) {
            return change(known, "client_trust_config", file).context("`[[merged]]` names no file");
        }
        let mut table = Table::new();
        table.insert("name", value(name));
        table.insert("client_trust_config", value(file));
        table.decor_mut().set_prefix("\n");
        tables.push(table);
        Ok(())
    }

    /// Adds trust of an instance before this one.
    pub(crate) fn import(&mut self, name: &str, file: &str) -> anyhow::Result<()> {
        let mut table = Table::new();
        table.insert("name", value(name));
        table.insert("trusted_root", value(file));
        table.decor_mut().set_prefix("\n");
        let tables = self.0.entry("imported").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
        tables.as_array_of_tables_mut().context("`imported` is no `[[imported]]`")?.push(table);
        Ok(())
    }

    fn insert_below(&mut self, role: &str, name: &str, mut table: Table) -> anyhow::Result<()> {
        let role = self.role(role)?;
        let last = last_position(role).unwrap_or(usize::MAX);
        table.decor_mut().set_prefix("\n");
        place(&mut table, last);
        role.insert(name, Item::Table(table));
        Ok(())
    }

    fn role(&mut self, role: &str) -> anyhow::Result<&mut Table> {
        let table = self.0.get_mut(role).and_then(Item::as_table_mut);
        table.with_context(|| format!("`[{role}]` is not found in {}", config::FILE))
    }

    fn log(&mut self, name: &str) -> anyhow::Result<&mut Table> {
        let logs = self.0.get_mut("log").and_then(Item::as_array_of_tables_mut);
        let mut logs = logs.into_iter().flat_map(ArrayOfTables::iter_mut);
        let log = logs.find(|log| log.get("name").and_then(Item::as_str) == Some(name));
        log.with_context(|| format!("`[[log]]` with `name = \"{name}\"` is not found in {}", config::FILE))
    }
}

/// Changes a text that is there, and leaves what stands around it. `None` if it is not there.
fn change(table: &mut Table, key: &str, text: &str) -> Option<()> {
    let item = table.get_mut(key)?;
    let decor = item.as_value().map(|value| value.decor().clone());
    *item = value(text);
    if let (Some(value), Some(decor)) = (item.as_value_mut(), decor) {
        *value.decor_mut() = decor;
    }
    Some(())
}

/// Where a table or the last one in it stands.
fn last_position(table: &Table) -> Option<usize> {
    let tables = table.iter().filter_map(|(_, item)| item.as_table());
    let arrays = table.iter().filter_map(|(_, item)| item.as_array_of_tables()).flat_map(ArrayOfTables::iter);
    tables.chain(arrays).filter_map(last_position).chain(table.position()).max()
}

fn place(table: &mut Table, position: usize) {
    table.set_position(position);
    for (_, item) in table.iter_mut() {
        if let Some(inner) = item.as_table_mut() {
            place(inner, position);
        }
    }
}
