//! Plans what a publication removes: what the record has and the bundle does not, except for entries that stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;

use crate::volume::directory::Listing;
use crate::volume::error::Problem;
use crate::volume::plan::Publication;
use crate::volume::{earlier, reader, state};

impl Publication<'_> {
    pub(super) fn find_removals(&mut self) -> Result<(), Problem> {
        let failed = |errno| Problem::new("read directories", errno);
        let desired = &self.after.paths;
        // Innermost first: a directory's path sorts before the paths in it.
        let gone =
            self.record.paths.iter().filter(|path| !desired.contains(*path) && !self.keeps(path)).rev();
        let mut found = BTreeMap::new();
        let mut removals = Vec::new();
        let mut shared = Vec::new();
        for path in gone {
            let directory = if path.ends_with('/') { Listing::open_path(self.root, path) } else { Ok(None) };
            let directory = directory.map_err(failed)?;
            let known = |name: &str| self.record.has_directory(&format!("{path}{name}/"));
            let holds_foreign = directory.as_ref().is_some_and(|found| found.foreign(known).is_some());
            let holds_own = directory.as_ref().is_none_or(|found| found.current.is_some());
            found.extend(directory.map(|found| (path.clone(), found)));
            // Entries of other programs keep the directory. It stays in the record: podcreds created it and may use it again.
            if holds_foreign {
                shared.push(path.clone());
            }
            if holds_own || !holds_foreign {
                removals.push(path.clone());
            }
        }
        // The other directories were compared already.
        let mut before = self.record.files().map(str::to_owned).collect::<Vec<_>>();
        for (path, found) in &found {
            before.extend(found.files.iter().map(|name| format!("{path}{name}")));
        }
        self.found.extend(found);
        let mut links = BTreeSet::new();
        if self.takes_over()
            && let Some(version) = earlier::open(self.root).map_err(failed)?
        {
            links = earlier::links(self.root).map_err(failed)?;
            let paths = earlier::paths(version.as_fd()).map_err(failed)?;
            before.extend(paths.into_iter().filter(|path| links.contains(state::entry(path))));
        }
        let is_gone = |name: &String| {
            !desired.contains(name) && !desired.contains(&format!("{name}/")) && !self.keeps(name)
        };
        removals.extend(links.into_iter().filter(is_gone));
        self.removals = removals;
        self.after.paths.extend(shared);
        if !before.is_empty() {
            let after = self.desired.all_files("").into_iter().map(|(path, _)| path).collect::<BTreeSet<_>>();
            before.retain(|path| !after.contains(path) && !self.keeps(path));
            self.changed.extend(before);
        }
        Ok(())
    }

    /// Whether a path is in an entry that stays as it is.
    fn keeps(&self, path: &str) -> bool {
        self.kept.contains(state::entry(path))
    }

    /// Carries the kept entries over into the record. If an interrupted publication left one of them without a part, the record
    /// stays incomplete.
    pub(super) fn keep_records(&mut self) -> Result<(), Problem> {
        let failed = |errno| Problem::new("read directories", errno);
        let paths = self.record.paths.iter().filter(|path| self.keeps(path)).cloned();
        let paths = paths.collect::<BTreeSet<_>>();
        if self.takes_over() {
            let whole = reader::whole_entries(self.root, &self.record).map_err(failed)?;
            let links = earlier::links(self.root).map_err(failed)?;
            self.after.incomplete = paths.iter().any(|path| !whole.contains(state::entry(path)))
                || links.iter().any(|name| self.keeps(name));
        }
        self.after.paths.extend(paths);
        Ok(())
    }
}
