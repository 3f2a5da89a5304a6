//! Edits the text of manifests: what an edit does not concern stays as it is, byte for byte, with comments, order,
//! quotes and line endings. Each change of the tree becomes insertions and deletions in the text. The result is parsed again and
//! compared with the changed tree, so that a layout that this module does not understand is an error and not a wrong manifest.
//! Reason: `docs/decisions/manifest-edits.md`.

mod layout;
mod plan;

use std::fmt;

use crate::manifest::{Manifest, Place};
use crate::yaml::{Node, Position};

/// A step from a value to one inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(&'static str),
    Item(usize),
}

/// What to do at the last step of a path.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Before this item of a list. In a mapping, before the other key, or at the end.
    Insert {
        value: Node,
        before: Option<&'static str>,
    },
    /// An item of a list, or a `null` in a mapping.
    Replace(Node),
    Remove,
}

#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// From the object. Changes of one object apply to the tree as it was before all of them; of those that insert at the same
    /// offset, the inner one comes first.
    pub(crate) path: Vec<Step>,
    pub(crate) action: Action,
}

/// Why a manifest cannot be edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// An edit would change other places too.
    Shared,
    /// The layout of the text is not understood.
    Layout,
}

/// An object that cannot be edited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) obstacle: Obstacle,
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.obstacle {
            Obstacle::Shared => {
                "cannot be edited, because it has an anchor (&), is an alias (*) or comes from a merge key (<<), and an edit would change other places too; write it out here"
            }
            Obstacle::Layout => {
                "cannot be edited in this layout; write one key and one list item on each line"
            }
        };
        write!(f, "{}: {text}", self.place)
    }
}

/// A piece of text to replace.
#[derive(Debug)]
struct TextEdit {
    start: usize,
    end: usize,
    insert: String,
}

/// The text of a manifest after these changes, each list with the index of its object.
///
/// # Errors
/// The first value that cannot be edited.
pub(crate) fn edit<'a>(
    manifest: &'a Manifest,
    changes: &[(usize, Vec<Change>)],
) -> Result<String, Refusal<'a>> {
    let objects = manifest.objects();
    let mut edits: Vec<TextEdit> = Vec::new();
    let refuse = |(at, obstacle)| Refusal { place: Place { file: &manifest.name, at }, obstacle };
    for (index, changes) in changes {
        let Some(object) = objects.get(*index) else { continue };
        for change in changes {
            for edit in plan::text_edits(&manifest.text, object.node, change, changes).map_err(refuse)? {
                // Insertion is fast enough, because manifests are edited from the beginning to the end.
                let place = edits.partition_point(|other| other.start <= edit.start);
                edits.insert(place, edit);
            }
        }
    }
    let text = apply(&manifest.text, &edits);
    match first_difference(manifest, changes, &text) {
        Some(at) => Err(refuse((at, Obstacle::Layout))),
        None => Ok(text),
    }
}

fn apply(text: &str, edits: &[TextEdit]) -> String {
    let mut out =
        String::with_capacity(text.len() + edits.iter().map(|edit| edit.insert.len()).sum::<usize>());
    let mut copied = 0;
    for edit in edits {
        out.push_str(text.get(copied..edit.start).unwrap_or_default());
        out.push_str(&edit.insert);
        copied = copied.max(edit.end);
    }
    out.push_str(&text[copied..]);
    // The last lines are gone, and the text had no line break at its end.
    if !text.ends_with('\n') && out.ends_with('\n') {
        out.truncate(out.len() - if out.ends_with("\r\n") { 2 } else { 1 });
    }
    out
}

/// The first object that is not, in the new text, what it was with the changes.
fn first_difference(manifest: &Manifest, changes: &[(usize, Vec<Change>)], text: &str) -> Option<Position> {
    let edited = Manifest::parse(&manifest.name, text.to_owned()).ok();
    let edited = edited.as_ref().map(Manifest::objects).unwrap_or_default();
    let mut changes = changes.iter().peekable();
    for (index, object) in manifest.objects().iter().enumerate() {
        let Some(found) = edited.get(index) else { return Some(object.node.at()) };
        let is_same = match changes.next_if(|(changed, _)| *changed == index) {
            None => object.node.is_same(found.node),
            Some((_, changes)) => {
                let mut expected = object.node.clone();
                for change in changes.iter().filter(|change| !matches!(change.action, Action::Remove)) {
                    change_tree(&mut expected, &change.path, &change.action);
                }
                // From the end, so that the indices of the others stay the same.
                for change in changes.iter().rev().filter(|change| matches!(change.action, Action::Remove)) {
                    change_tree(&mut expected, &change.path, &change.action);
                }
                expected.is_same(found.node)
            }
        };
        if !is_same {
            return Some(object.node.at());
        }
    }
    None
}

fn change_tree(node: &mut Node, path: &[Step], action: &Action) {
    let [step, rest @ ..] = path else { return };
    if !rest.is_empty() {
        let child = match step {
            Step::Key(key) => node.entry_mut(key),
            Step::Item(index) => node.item_mut(*index),
        };
        if let Some(child) = child {
            change_tree(child, rest, action);
        }
        return;
    }
    match (action, *step) {
        (Action::Insert { value, .. }, Step::Key(key)) => node.push_entry(key, value.clone()),
        (Action::Insert { value, .. }, Step::Item(index)) => node.insert_item(index, value.clone()),
        (Action::Replace(value), step) => {
            let child = match step {
                Step::Key(key) => node.entry_mut(key),
                Step::Item(index) => node.item_mut(index),
            };
            if let Some(child) = child {
                child.clone_from(value);
            }
        }
        (Action::Remove, Step::Key(key)) => node.remove_entry(key),
        (Action::Remove, Step::Item(index)) => node.remove_item(index),
    }
}
