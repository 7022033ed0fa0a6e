//! A file, the files that it imports, and which names each of them sees.

use std::collections::HashMap;

use crate::diagnostic::{Code, Diagnostic, Files, Problem, Span};
use crate::limits::{Budget, Limits};
use crate::parse::{self, parse};
use crate::syntax::{Kind, Module, Name, Symbol, Symbols};

/// Gives the text of imported modules. Nothing here opens a file.
pub trait Loader {
    /// The text of the module with this full name (`a.b.Name` is commonly `a/b/Name.scr`); `None`
    /// when there is none.
    fn load(&mut self, module: &str) -> Option<String>;
}

impl<F: FnMut(&str) -> Option<String>> Loader for F {
    fn load(&mut self, module: &str) -> Option<String> {
        self(module)
    }
}

/// A [`Loader`] that has no modules.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoImports;

impl Loader for NoImports {
    fn load(&mut self, _module: &str) -> Option<String> {
        None
    }
}

/// The file to check.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// As diagnostics name it. Where it has an ending, the module is called as the file.
    pub name: &'a str,
    /// What it says.
    pub text: &'a str,
}

/// What a file's text calls its module, such as `a.b.Name`; `None` where it does not begin as a module does.
#[must_use]
pub fn module_name(text: &str) -> Option<String> {
    if text.len() > Limits::default().bytes { None } else { parse::module_name(text) }
}

/// The modules of a check, read and with their names known.
#[derive(Debug)]
pub(crate) struct Program {
    pub files: Files,
    pub symbols: Symbols,
    /// The first is the one that is checked.
    pub modules: Vec<Module>,
    /// One for each module.
    pub scopes: Vec<Scope>,
}

/// What a module sees, by the names under which it sees it.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    modules: HashMap<Symbol, usize>,
    /// Types, to their full names.
    pub types: HashMap<Symbol, Symbol>,
    /// Message signatures, to their full names.
    pub signatures: HashMap<Symbol, Symbol>,
    /// Protocols, to their modules and their names in these.
    pub protocols: HashMap<Symbol, (usize, Symbol)>,
}

impl Program {
    /// Reads the source and what it imports, and looks up what each module sees.
    ///
    /// # Errors
    /// When a file is not there, is not Scribble or is named otherwise, or names clash.
    pub(crate) fn load(
        source: &Source<'_>,
        loader: &mut dyn Loader,
        budget: &mut Budget,
    ) -> Result<Program, Vec<Diagnostic>> {
        let mut program = Program {
            files: Files::default(),
            symbols: Symbols::default(),
            modules: Vec::new(),
            scopes: Vec::new(),
        };
        match program.read_all(source, loader, budget) {
            Ok(()) => Ok(program),
            Err(problem) => Err(vec![program.files.diagnostic(problem)]),
        }
    }

    fn read_all(
        &mut self,
        source: &Source<'_>,
        loader: &mut dyn Loader,
        budget: &mut Budget,
    ) -> Result<(), Problem> {
        let mut bytes = 0;
        let main = self.read(source, &mut bytes, budget)?;
        let stem = source.name.rsplit('/').next().and_then(|name| name.rsplit_once('.'));
        if let Some((stem, _)) = stem
            && stem != simple(self.symbols.text(main.name.symbol))
        {
            return Err(Problem::at(Code::ModuleName, main.name.span, format!("the file is called {stem}")));
        }
        let mut known = HashMap::from([(main.name.symbol, 0)]);
        self.modules.push(main);
        let mut at = 0;
        while at < self.modules.len() {
            let imports: Vec<Name> = self.modules[at].imports.iter().map(|import| import.module).collect();
            for name in imports {
                if known.contains_key(&name.symbol) {
                    continue;
                }
                let path = self.symbols.text(name.symbol).to_owned();
                let text = loader.load(&path).ok_or_else(|| {
                    Problem::at(Code::MissingModule, name.span, format!("there is no module {path}"))
                })?;
                let most = budget.limits().modules;
                if self.modules.len() == most {
                    return Err(Problem::at(Code::TooLarge, name.span, format!("more than {most} modules")));
                }
                let file = format!("{}.scr", path.replace('.', "/"));
                let module = self.read(&Source { name: &file, text: &text }, &mut bytes, budget)?;
                if module.name.symbol != name.symbol {
                    let text = format!("this module was imported as {path}");
                    return Err(Problem::at(Code::ModuleName, module.name.span, text));
                }
                known.insert(name.symbol, self.modules.len());
                self.modules.push(module);
            }
            at += 1;
        }
        for root in 0..self.modules.len() {
            let scope = self.scope(root, &known, budget)?;
            self.scopes.push(scope);
        }
        Ok(())
    }

    fn read(
        &mut self,
        source: &Source<'_>,
        bytes: &mut usize,
        budget: &mut Budget,
    ) -> Result<Module, Problem> {
        let file = self.files.add(source.name, source.text);
        *bytes += source.text.len();
        let most = budget.limits().bytes.min(u32::MAX as usize);
        if *bytes > most {
            let begin = Span { file, start: 0, end: 0 };
            return Err(Problem::at(Code::TooLarge, begin, format!("more than {most} bytes")));
        }
        parse(&self.files, file, &mut self.symbols, budget)
    }

    fn scope(
        &mut self,
        root: usize,
        known: &HashMap<Symbol, usize>,
        budget: &mut Budget,
    ) -> Result<Scope, Problem> {
        let mut scope = Scope::default();
        let name = self.modules[root].name.symbol;
        self.show(&mut scope, root, Some(name), budget)?;
        let short = simple(self.symbols.text(name)).to_owned();
        let short = self.symbols.intern(&short);
        self.show(&mut scope, root, Some(short), budget)?;
        let imports: Vec<(Name, Option<Name>, Span)> =
            self.modules[root].imports.iter().map(|i| (i.module, i.alias, i.span)).collect();
        for (module, alias, span) in imports {
            let visible = alias.unwrap_or(module).symbol;
            if scope.modules.contains_key(&visible) {
                let text = format!("there is a module {} already", self.symbols.text(visible));
                return Err(Problem::at(Code::DuplicateModule, span, text));
            }
            self.show(&mut scope, known[&module.symbol], Some(visible), budget)?;
        }
        self.show(&mut scope, root, None, budget)?;
        Ok(scope)
    }

    /// Makes what a module declares visible under a name, or its members under their own.
    fn show(
        &mut self,
        scope: &mut Scope,
        module: usize,
        name: Option<Symbol>,
        budget: &mut Budget,
    ) -> Result<(), Problem> {
        if let Some(name) = name {
            scope.modules.insert(name, module);
        }
        let shown = &self.modules[module];
        budget.spend(64 * (shown.declarations.len() + shown.protocols.len()))?;
        let full = shown.name.symbol;
        for declaration in &shown.declarations {
            let member = declaration.name.symbol;
            let visible = name.map_or(member, |name| join(&mut self.symbols, name, member));
            let full = join(&mut self.symbols, full, member);
            match declaration.kind {
                Kind::Type => scope.types.insert(visible, full),
                Kind::Signature => scope.signatures.insert(visible, full),
            };
        }
        for protocol in &shown.protocols {
            let member = protocol.name.symbol;
            let visible = name.map_or(member, |name| join(&mut self.symbols, name, member));
            scope.protocols.insert(visible, (module, member));
        }
        Ok(())
    }
}

/// A name without its module.
pub(crate) fn simple(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn join(symbols: &mut Symbols, module: Symbol, member: Symbol) -> Symbol {
    let text = format!("{}.{}", symbols.text(module), symbols.text(member));
    symbols.intern(&text)
}
