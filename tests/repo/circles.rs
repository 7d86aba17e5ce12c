//! Checks that no two files of the library import each other, directly or indirectly: what a file needs can
//! be read and understood before it.
//!
//! Re-exporting a name with `pub use` is not an import, unless the file uses the name itself: an import through it
//! counts for the file that defines the name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::imports::{Import, Module, absolute, imports, module_of};
use crate::{root, sources};

struct File {
    text: String,
    imports: Vec<Import>,
    /// The path that a re-exported name stands for.
    exports: BTreeMap<String, Module>,
}

/// Returns the files of the library by their modules, without the tool, which is another program.
fn files() -> BTreeMap<Module, File> {
    let src = root().join("src");
    let paths = sources(&src).into_iter().filter(|path| !path.starts_with(src.join("bin")));
    let mut files: BTreeMap<Module, File> = paths
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let imports = imports(&text);
            (module_of(path.strip_prefix(&src).unwrap()), File { text, imports, exports: BTreeMap::new() })
        })
        .collect();
    let modules: BTreeSet<Module> = files.keys().cloned().collect();
    for (module, file) in &mut files {
        let exports = file.imports.iter().filter(|import| import.is_export);
        let named = exports
            .filter_map(|import| Some((import.name.clone(), absolute(&modules, module, &import.path)?)));
        file.exports = named.collect();
    }
    files
}

/// Returns the module that defines what a path in `user` names.
fn definition<'a>(files: &'a BTreeMap<Module, File>, user: &Module, path: &Module) -> Option<&'a Module> {
    let mut path = path.clone();
    // Names are re-exported a few times at most.
    for _ in 0..8 {
        let len = (0..=path.len()).rev().find(|&len| files.contains_key(&path[..len]))?;
        let (module, file) = files.get_key_value(&path[..len])?;
        let Some(name) = path.get(len) else { return Some(module) };
        match file.exports.get(name) {
            Some(meaning) if *meaning != path => path = [meaning.clone(), path[len + 1..].to_vec()].concat(),
            // The names that an inline module re-exports are found as those of the file.
            None if path.len() > len + 1 && file.text.contains(&format!("mod {name} {{")) => {
                path = [module.clone(), path[len + 1..].to_vec()].concat();
            }
            // A macro makes the name, unless this only looks like a parent: in an inline module, `super` is the
            // file itself.
            Some(_) | None => {
                return (defines(&file.text, name) || !user.starts_with(module)).then_some(module);
            }
        }
    }
    None
}

/// Whether a file contains the definition of an item.
fn defines(text: &str, name: &str) -> bool {
    let mut words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    let kinds = ["struct", "enum", "union", "trait", "type", "fn", "const", "static", "macro_rules"];
    let mut before = "";
    words.any(|word| {
        let is_defined = word == name && kinds.contains(&before);
        if !word.is_empty() {
            before = word;
        }
        is_defined
    })
}

/// Returns the imports of each file within the library.
fn graph(files: &BTreeMap<Module, File>) -> BTreeMap<&Module, BTreeSet<&Module>> {
    let modules: BTreeSet<Module> = files.keys().cloned().collect();
    let uses = |module: &Module, file: &File| {
        let uses = file.imports.iter().filter(|import| import.is_used);
        let paths = uses.filter_map(|import| absolute(&modules, module, &import.path));
        let used: Vec<Module> = paths.filter_map(|path| definition(files, module, &path).cloned()).collect();
        used
    };
    files
        .iter()
        .map(|(module, file)| {
            let used = uses(module, file).into_iter().filter(|used| used != module);
            (module, used.map(|used| files.get_key_value(&used).unwrap().0).collect())
        })
        .collect()
}

/// Removes the files that are on no circle.
fn peel<'a>(graph: &mut BTreeMap<&'a Module, BTreeSet<&'a Module>>) {
    loop {
        let used: BTreeSet<&Module> = graph.values().flatten().copied().collect();
        let is_end = |module: &&Module, uses: &BTreeSet<&Module>| uses.is_empty() || !used.contains(module);
        let ends: Vec<&Module> =
            graph.iter().filter(|(module, uses)| is_end(module, uses)).map(|(module, _)| *module).collect();
        if ends.is_empty() {
            return;
        }
        for end in ends {
            graph.remove(end);
            for uses in graph.values_mut() {
                uses.remove(end);
            }
        }
    }
}

#[test]
fn no_files_import_each_other() {
    let files = files();
    let mut graph = graph(&files);
    let edges: usize = graph.values().map(BTreeSet::len).sum();
    assert!(edges > 500, "the imports are found: {edges}");
    peel(&mut graph);
    let lines = graph.iter().flat_map(|(module, uses)| {
        uses.iter().map(move |used| format!("{} imports {}", module.join("::"), used.join("::")))
    });
    let lines: Vec<String> = lines.collect();
    assert!(lines.is_empty(), "a circle of imports:\n{}", lines.join("\n"));
}

#[test]
fn a_circle_is_found_across_several_files_and_mod_files() {
    let texts = [
        ("a.rs", "use crate::folder::Thing; pub struct A;"),
        ("folder/mod.rs", "mod inner; mod other; pub use inner::Thing;"),
        ("folder/inner.rs", "use super::other::Other; pub struct Thing;"),
        ("folder/other.rs", "pub struct Other; fn f(a: crate::a::A) {}"),
        ("end.rs", "use crate::a::A; use crate::folder;"),
    ];
    let mut files: BTreeMap<Module, File> = texts
        .iter()
        .map(|(path, text)| {
            let file = File { text: (*text).to_owned(), imports: imports(text), exports: BTreeMap::new() };
            (module_of(Path::new(path)), file)
        })
        .collect();
    let thing = ["folder", "inner", "Thing"].map(str::to_owned).to_vec();
    files.get_mut(&["folder".to_owned()][..]).unwrap().exports = [("Thing".to_owned(), thing)].into();
    let mut graph = graph(&files);
    peel(&mut graph);
    let left: Vec<String> = graph.keys().map(|module| module.join("::")).collect();
    assert_eq!(left, ["a", "folder::inner", "folder::other"]);
}
