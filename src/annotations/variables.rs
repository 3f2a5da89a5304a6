//! `.variable` and `.variable-format`: the variables that a connection string or the text of a template is written to.

use crate::annotations::Values;
use crate::annotations::error::Problem;
use crate::annotations::keys::{self, AnnotationKey};
use crate::annotations::vault_db_injector::variable_names;
use crate::credential::{EnvExport, Format};

/// Reads both. `format` is that of the credential; `None` means that it is invalid, which is reported already.
pub(super) fn read(values: &mut Values<'_>, format: Option<Format>) -> Option<EnvExport> {
    let has = |values: &Values<'_>, key| values.texts.contains_key(&key);
    let names = values.read(AnnotationKey::Variable, variable_names);
    let file = values.read(AnnotationKey::VariableFormat, keys::parse_variable_format);
    if has(values, AnnotationKey::Variable) && format.is_some_and(|format| !format.is_single_value()) {
        let problem = "is only for formats uri, jdbc, adonet, libpq and template: for a URL, set .format: uri; in formats env, dotenv and envfile, .keys names the variables";
        values.push(AnnotationKey::Variable, Problem::Combination(problem));
    }
    if has(values, AnnotationKey::VariableFormat) && !has(values, AnnotationKey::Variable) {
        let problem =
            "requires .variable, which names the variable for the text: add it, or remove this annotation";
        values.push(AnnotationKey::VariableFormat, Problem::Combination(problem));
    }
    Some(EnvExport { names: names?, file: file.unwrap_or_default() })
}
