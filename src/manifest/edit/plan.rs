//! Turns a change of a tree into insertions and deletions in its text.

use crate::manifest::edit::layout::{Layout, pad};
use crate::manifest::edit::{Action, Change, Obstacle, Step, TextEdit};
use crate::yaml::{Child, Node, Position};

type Refused = (Position, Obstacle);

/// The text edits of a change. `siblings` are all changes of the same object.
pub(super) fn text_edits(
    text: &str,
    object: &Node,
    change: &Change,
    siblings: &[Change],
) -> Result<Vec<TextEdit>, Refused> {
    let Some((last, parents)) = change.path.split_last() else { return Ok(Vec::new()) };
    let site = Site::find(text, object, parents)?;
    let edits = match (&change.action, *last) {
        (Action::Insert { value, before }, step) => vec![site.insert(value, *before, step)?],
        (Action::Replace(value), step) => site.replace(value, site.index(step)?)?,
        (Action::Remove, step) => {
            let index = site.index(step)?;
            let is_removed = |index: usize| {
                siblings.iter().any(|other| {
                    matches!(other.action, Action::Remove)
                        && other.path.split_last().is_some_and(|(step, path)| {
                            path == parents && site.index(*step).is_ok_and(|found| found == index)
                        })
                })
            };
            vec![site.remove(index, &is_removed)?]
        }
    };
    Ok(edits)
}

/// The collection that a change is in.
struct Site<'a> {
    text: &'a str,
    parent: &'a Node,
    children: Vec<Child<'a>>,
    /// The start of the last key before the collection.
    key: usize,
    layout: Layout<'a>,
}

impl<'a> Site<'a> {
    fn find(text: &'a str, object: &'a Node, path: &[Step]) -> Result<Self, Refused> {
        let newline = text.find('\n').filter(|end| text[..*end].ends_with('\r')).map_or("\n", |_| "\r\n");
        let layout = Layout { newline, unit: 2, list: 2, is_json: false, is_minified: false };
        let mut site = Self { text, parent: object, children: Vec::new(), key: object.span().start, layout };
        for step in path {
            site.enter()?;
            let child = site.children[site.index(*step)?];
            if child.key.is_some() {
                site.key = child.start;
            }
            site.parent = child.node;
        }
        site.enter()?;
        Ok(site)
    }

    /// Looks at the collection, and at how it is written.
    fn enter(&mut self) -> Result<(), Refused> {
        if self.parent.is_shared() {
            return Err((self.parent.at(), Obstacle::Shared));
        }
        self.children = self.parent.children();
        let Some(first) = self.children.first() else { return Ok(()) };
        if let Some(key) = first.key {
            self.layout.is_json = self.text[first.start..].starts_with('"');
            let colon = self.text[first.start..].get(key.len() + 2..).unwrap_or_default();
            self.layout.is_minified = self.layout.is_json
                && colon.strip_prefix(':').is_some_and(|rest| !rest.starts_with([' ', '\n', '\r']));
        }
        if self.is_flow(self.parent) {
            if let Some(indent) = self.line_indent(first.start).filter(|_| self.is_multiline()) {
                let start = self.line_start(self.parent.span().start);
                let outer = self.text[start..].bytes().take_while(|b| *b == b' ').count();
                self.layout.unit = indent.saturating_sub(outer).max(1);
            }
        } else if first.key.is_some() {
            let column = self.column(first.start);
            for child in &self.children {
                // A collection in block style begins on another line than its key.
                if child.node.span().start < child.start + 2 || self.is_flow(child.node) {
                    continue;
                }
                if child.node.is_mapping() {
                    self.layout.unit = self.column(child.node.span().start).saturating_sub(column).max(1);
                } else if let Some(first) = child.node.items().first()
                    && let Some(dash) = self.dash(first)
                {
                    self.layout.list = self.column(dash).saturating_sub(column);
                }
            }
        }
        Ok(())
    }

    fn index(&self, step: Step) -> Result<usize, Refused> {
        let found = match step {
            Step::Item(index) => Some(index).filter(|index| *index < self.children.len()),
            Step::Key(key) => self.children.iter().position(|child| child.key == Some(key)),
        };
        // A key that is in no text of this mapping comes from a merge key.
        found.ok_or((self.parent.at(), Obstacle::Shared))
    }

    fn insert(&self, value: &Node, before: Option<&str>, step: Step) -> Result<TextEdit, Refused> {
        let (key, index) = match step {
            Step::Key(key) => {
                let place = self.children.iter().position(|child| child.key.is_some() && child.key == before);
                (Some(key), place.unwrap_or(self.children.len()))
            }
            Step::Item(index) => (None, index.min(self.children.len())),
        };
        if self.is_flow(self.parent) {
            return Ok(self.insert_in_flow(key, value, index));
        }
        let Some(first) = self.children.first() else { return Err(self.layout_error()) };
        let column = match first.key {
            Some(_) => self.column(first.start),
            None => self.column(self.dash_or_refuse(first.node)?),
        };
        let at = match (key, self.children.get(index)) {
            // Above the comments of the first item, so that they stay with it.
            (None, Some(_)) if index == 0 => self.line_end(self.key),
            (None, Some(child)) => self.line_start(self.dash_or_refuse(child.node)?),
            (Some(_), Some(child)) if self.line_indent(child.start).is_some() => {
                self.above_comments(child.start, column)
            }
            (_, _) => self.line_end(self.parent.span().end),
        };
        let mut body = String::new();
        match key {
            Some(key) => self.layout.entry(key, value, column, &mut body),
            None => {
                body.push_str("- ");
                self.layout.block(value, column + 2, &mut body);
            }
        }
        Ok(self.lines(at, column, &body))
    }

    /// Inserts lines at the start of a line, or after the last one.
    fn lines(&self, at: usize, indent: usize, body: &str) -> TextEdit {
        let mut insert = String::new();
        let is_open = at == self.text.len() && !self.text.ends_with('\n');
        if is_open {
            insert.push_str(self.layout.newline);
        }
        pad(indent, &mut insert);
        insert.push_str(body);
        if !is_open {
            insert.push_str(self.layout.newline);
        }
        TextEdit { start: at, end: at, insert }
    }

    fn insert_in_flow(&self, key: Option<&str>, value: &Node, index: usize) -> TextEdit {
        let mut body = String::new();
        let Some(last) = self.children.last() else {
            // The spaces tell `remove` that the collection was there, and empty.
            body.push(' ');
            self.layout.flow_child(key, value, None, &mut body);
            body.push(' ');
            let start = self.parent.span().start + 1;
            return TextEdit { start, end: start, insert: body };
        };
        let indent = self.line_indent(self.children[0].start).filter(|_| self.is_multiline());
        let separate = |body: &mut String| match indent {
            Some(indent) => {
                body.push(',');
                self.layout.break_line(indent, body);
            }
            None => body.push_str(self.layout.comma()),
        };
        let start = match self.children.get(index) {
            Some(child) => {
                self.layout.flow_child(key, value, indent, &mut body);
                separate(&mut body);
                child.start
            }
            None => {
                separate(&mut body);
                self.layout.flow_child(key, value, indent, &mut body);
                last.node.span().end
            }
        };
        TextEdit { start, end: start, insert: body }
    }

    fn replace(&self, value: &Node, index: usize) -> Result<Vec<TextEdit>, Refused> {
        let child = self.children[index];
        if child.node.is_shared() {
            return Err((child.node.at(), Obstacle::Shared));
        }
        let span = child.node.span();
        let mut insert = String::new();
        if self.is_flow(self.parent) || self.is_flow(child.node) {
            let spread = self.is_flow(child.node) && self.text[span.start..span.end].contains('\n');
            let indent = self.line_indent(child.start).filter(|_| spread || self.is_multiline());
            insert.push_str(if self.text[..span.start].ends_with(':') { " " } else { "" });
            self.layout.flow(value, indent, &mut insert);
        } else if child.key.is_some() {
            // A `null`, perhaps with nothing written.
            let column = self.column(child.start);
            let start = self.text[..span.start].trim_end().len();
            self.layout.nested(value, column, &mut insert);
            let at = self.line_end(span.end);
            let body = insert.trim_start_matches(['\r', '\n']);
            let indent = body.len() - body.trim_start().len();
            let mut edits = vec![self.lines(at, indent, body.trim_start())];
            if span.start < span.end {
                edits.insert(0, TextEdit { start, end: span.end, insert: String::new() });
            }
            return Ok(edits);
        } else {
            self.layout.block(value, self.column(span.start), &mut insert);
        }
        Ok(vec![TextEdit { start: span.start, end: span.end, insert }])
    }

    fn remove(&self, index: usize, is_removed: &dyn Fn(usize) -> bool) -> Result<TextEdit, Refused> {
        let child = self.children[index];
        let end = child.node.span().end;
        let (start, end) = if self.is_flow(self.parent) {
            let kept_after = (index + 1..self.children.len()).any(|index| !is_removed(index));
            let kept_before = (0..index).rev().find(|index| !is_removed(*index));
            match (kept_after, kept_before) {
                (true, _) => (child.start, self.children[index + 1].start),
                (false, Some(before)) => (self.children[before].node.span().end, end),
                (false, None) => {
                    let inside = self.parent.span().start + 1..self.parent.span().end.saturating_sub(1);
                    let is_alone = self.children.len() == 1
                        && self.text[inside.start..].starts_with(' ')
                        && self.text[end..].starts_with(' ');
                    // The spaces that `insert_in_flow` wrote, and not those that were there before.
                    if is_alone { (inside.start, end + 1) } else { (inside.start, inside.end) }
                }
            }
        } else {
            let head = if child.key.is_some() { child.start } else { self.dash_or_refuse(child.node)? };
            match (self.line_indent(head), self.children.get(index + 1)) {
                (Some(_), _) => (self.line_start(head), self.line_end(end)),
                // The first key of a list item, after the dash.
                (None, Some(next)) if child.key.is_some() => (child.start, next.start),
                (None, _) => return Err(self.layout_error()),
            }
        };
        Ok(TextEdit { start, end, insert: String::new() })
    }

    fn layout_error(&self) -> Refused {
        (self.parent.at(), Obstacle::Layout)
    }

    /// Whether a collection is in flow style. A list in block style has the start of its first item, which may be a bracket.
    fn is_flow(&self, node: &Node) -> bool {
        let start = node.span().start;
        (node.is_mapping() || node.is_list())
            && self.text[start..].starts_with(['{', '['])
            && node.items().first().is_none_or(|item| item.span().start > start)
    }

    /// Whether the first value of a flow collection is on another line than its bracket.
    fn is_multiline(&self) -> bool {
        let first = self.children.first().map_or(0, |child| child.start);
        self.text.get(self.parent.span().start..first).is_some_and(|text| text.contains('\n'))
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |end| end + 1)
    }

    /// After the line break.
    fn line_end(&self, at: usize) -> usize {
        self.text[at..].find('\n').map_or(self.text.len(), |end| at + end + 1)
    }

    /// The width in characters of the text before this offset in its line.
    fn column(&self, at: usize) -> usize {
        self.text[self.line_start(at)..at].chars().filter(|c| *c != '\u{feff}').count()
    }

    /// The indentation of what begins here. `None` means that its line has other text before it.
    fn line_indent(&self, at: usize) -> Option<usize> {
        let before = &self.text[self.line_start(at)..at];
        before.bytes().all(|b| b == b' ').then_some(before.len())
    }

    /// The start of the line of a key, or of the comments directly above it that have its indentation.
    fn above_comments(&self, key: usize, indent: usize) -> usize {
        let mut start = self.line_start(key);
        while start > 0 {
            let above = self.line_start(start - 1);
            let line = &self.text[above..start];
            let text = line.trim_start_matches(' ');
            if line.len() - text.len() != indent || !text.starts_with('#') {
                break;
            }
            start = above;
        }
        start
    }

    /// The dash of a list item in block style.
    fn dash(&self, item: &Node) -> Option<usize> {
        let start = item.span().start;
        let line = self.line_start(start);
        if let Some(dash) = self.text[line..start].rfind('-') {
            return Some(line + dash);
        }
        // The item begins on a line below its dash, perhaps with comments between.
        let mut end = line;
        while end > 0 {
            let above = self.line_start(end - 1);
            let text = self.text[above..end].trim_start();
            if text.starts_with('-') {
                return Some(end - text.len());
            }
            if !text.is_empty() && !text.starts_with('#') {
                break;
            }
            end = above;
        }
        None
    }

    fn dash_or_refuse(&self, item: &Node) -> Result<usize, Refused> {
        let dash = self.dash(item).filter(|dash| self.line_indent(*dash).is_some());
        dash.ok_or((item.at(), Obstacle::Layout))
    }
}
