//! `explode`: a row of every element of a list.

use engine::expr::{Expr, Literal};
use engine::plan::{Explode, INDEX};
use engine::{Code, DataType, Field};

use super::expression::unknown_column;
use super::relation::{Column, Relation};
use super::step::check_output_name;
use crate::problems::Problems;
use crate::yaml::Scalar;

/// Puts the element in the list's place.
pub(super) fn check_explode(
    list: &Scalar,
    element: &Scalar,
    relation: &mut Relation,
    problems: &mut Problems,
) -> Option<Explode> {
    if relation.is_indexed {
        let message = "the rows are elements of exploded records already";
        problems.error(Code::Field, list.span, message, "a second `explode`").help = Some(
            "make one list of them before: `derive: {tags: \"flatten(tags)\"}`; rows of windows can be exploded again"
                .into(),
        );
        return None;
    }
    let Some(column) = relation.column(&list.text) else {
        unknown_column(list, &relation.names(), problems);
        return None;
    };
    let data_type = column.field.data_type;
    let Some(of) = data_type.element() else {
        let help = match data_type {
            DataType::Json => "a step before makes a list of it: `cast(x as list<json>)`",
            DataType::String => "a step before makes a list of it: `string_split(x, ',')`",
            _ => "only a list has elements",
        };
        let message = format!("`{}` is {data_type}, not a list", list.text);
        problems.error(Code::Type, list.span, message, "not a list").help = Some(help.into());
        return None;
    };
    if element.text != list.text && relation.column(&element.text).is_some() {
        let message = format!("there is a column `{}` already", element.text);
        problems.error(Code::Name, element.span, message, "this name is taken").help =
            Some("give the element another name".into());
        return None;
    }
    let any = Expr::literal(Literal::Null);
    if !check_output_name(element, Some(&any), &[], relation.is_windows(), problems) {
        return None;
    }
    relation.lose(&list.text);
    let column = relation.columns.iter_mut().find(|column| column.field.name == list.text).expect("it was found");
    *column = Column { field: Field::new(&element.text, of), implied: false };
    if relation.is_windows() {
        // The element's place is no column there, and its value may be there twice.
        relation.identity.push(None);
    } else {
        relation.is_indexed = true;
        relation.identity.push(Some(INDEX.into()));
    }
    Some(Explode { list: list.text.clone(), element: element.text.clone() })
}
