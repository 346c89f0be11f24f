"""Finds the places of a C++ file where a mutation can be built in, with libclang.

A point knows the bytes it covers and how they look with the mutation compiled in: byre_mutant(n) is false unless
mutant n was chosen when the program was started, so one build holds all mutants. The forms keep types, lifetimes and
the order of evaluation, and repeat the operands only for comparisons.

Leaves out what is evaluated by the compiler (there byre_mutant is always false), and what stands in the arguments of
a macro, whose place libclang does not tell; a macro that is a whole statement can be dropped.
"""

import random
from dataclasses import dataclass

from clang import cindex
from clang.cindex import CursorKind as K

cindex.Config.set_library_file("/usr/lib/llvm-19/lib/libclang.so")

COMPARISONS = {"<": ["<=", "<=", ">="], "<=": ["<", "<", ">"], ">": [">=", ">=", "<="], ">=": [">", ">", "<"],
               "==": ["!="], "!=": ["=="]}
STAGES = ["counts", "table", "pointer", "links", "roots", "l1_pointer"]
ASSIGNMENTS = (K.COMPOUND_ASSIGNMENT_OPERATOR, K.UNARY_OPERATOR)
CONSTANT = (K.STATIC_ASSERT, K.CASE_STMT, K.TEMPLATE_NON_TYPE_PARAMETER, K.ENUM_CONSTANT_DECL)
LOOPS_AND_BRANCHES = (K.IF_STMT, K.WHILE_STMT, K.FOR_STMT, K.CXX_FOR_RANGE_STMT, K.DO_STMT, K.COMPOUND_STMT)
DROPPED_MACROS = ("BYRE_CHECK",)


@dataclass
class Point:
    kind: str
    what: str  # the mutation, for people
    file: str
    line: int
    begin: int
    end: int
    rank: int  # of points that cover the same bytes, the lowest is outermost
    holes: list  # byte ranges that are written again, with the points in them
    form: str  # @N stands for the number of the mutant, @0 and @1 for the holes

    def key(self):
        return self.begin, -self.end, self.rank


class Finder:
    def __init__(self, file, text, unit, seed):
        self.file = file
        self.text = text
        self.seed = seed
        self.points = {}
        self.macros = [(c.extent.start.offset, c.extent.end.offset, c.spelling) for c in unit.cursor.get_children()
                       if c.kind == K.MACRO_INSTANTIATION and self._here(c)]
        for cursor in unit.cursor.get_children():
            if self._here(cursor):
                self._visit(cursor, [], None)
        self._drop_macros()

    def _here(self, cursor):
        return cursor.location.file is not None and cursor.location.file.name == self.path_of_unit

    @classmethod
    def find(cls, path, file, arguments, seed):
        """All points of the file, in no order."""
        cls.path_of_unit = str(path)
        unit = cindex.Index.create().parse(str(path), arguments,
                                           options=cindex.TranslationUnit.PARSE_DETAILED_PROCESSING_RECORD)
        errors = [d for d in unit.diagnostics if d.severity >= cindex.Diagnostic.Error]
        if errors:
            raise SystemExit(f"mutate: libclang cannot read {file}: {errors[0]}")
        return list(cls(file, path.read_bytes(), unit, seed).points.values())

    # Walking

    def _visit(self, cursor, parents, function):
        if cursor.kind in CONSTANT or (cursor.kind == K.VAR_DECL and self._is_constexpr(cursor)):
            return
        if cursor.kind in (K.FUNCTION_DECL, K.CXX_METHOD, K.CONSTRUCTOR, K.DESTRUCTOR, K.FUNCTION_TEMPLATE,
                           K.CONVERSION_FUNCTION, K.LAMBDA_EXPR):
            function = cursor
        inside = any(p.kind == K.COMPOUND_STMT for p in parents)
        if inside and function is not None and not self._in_macro(cursor):
            self._consider(cursor, parents, function)
        for child in cursor.get_children():
            self._visit(child, parents + [cursor], function)

    def _is_constexpr(self, cursor):
        begin = cursor.extent.start.offset
        return b"constexpr" in self.text[begin:cursor.location.offset]

    def _in_macro(self, cursor):
        begin, end = cursor.extent.start.offset, cursor.extent.end.offset
        return end <= begin or any(begin < high and low < end and not self._wraps(begin, end, low, high)
                                   for low, high, _ in self.macros)

    @staticmethod
    def _wraps(begin, end, low, high):
        return begin < low and high <= end

    def _source(self, cursor):
        return self.text[cursor.extent.start.offset:cursor.extent.end.offset].decode()

    # Choosing

    def _consider(self, cursor, parents, function):
        if cursor.kind in (K.BINARY_OPERATOR, K.CALL_EXPR):
            self._consider_operator(cursor)
        if cursor.kind == K.IF_STMT or cursor.kind == K.WHILE_STMT:
            self._consider_condition(cursor)
        if cursor.kind == K.RETURN_STMT:
            self._consider_return(cursor, function)
        if cursor.kind == K.MEMBER_REF_EXPR and cursor.spelling in STAGES and "Cut" in self._source(cursor).title():
            self._consider_stage(cursor)
        if parents and parents[-1].kind in LOOPS_AND_BRANCHES:
            self._consider_statement(cursor, parents[-1])

    def _draw(self, cursor):
        """The same for the same text in the same place of its line, whatever else changes in the file."""
        return random.Random(f"{self.seed} {self.file} {cursor.extent.start.column} {self._source(cursor)}")

    def _operands(self, cursor):
        """(left, operator, right) of a binary operator, built in or not."""
        children = list(cursor.get_children())
        if cursor.kind == K.CALL_EXPR:
            if not cursor.spelling.startswith("operator") or len(children) != 3:
                return None
            children = [children[0], children[2]]
        if len(children) != 2:
            return None
        left, right = children
        operator = self.text[left.extent.end.offset:right.extent.start.offset].decode().strip()
        if (left.extent.start.offset, right.extent.end.offset) != self._range(cursor):
            return None
        return left, operator, right

    def _consider_operator(self, cursor):
        operands = self._operands(cursor)
        if not operands:
            return
        left, operator, right = operands
        holes = [self._range(left), self._range(right)]
        if operator in COMPARISONS:
            other = self._draw(cursor).choice(COMPARISONS[operator])
            self._add("comparison", f"{operator} becomes {other}", cursor, 2, holes,
                      f"(byre_mutant(@N) ? (@0 {other} @1) : (@0 {operator} @1))")
        if operator in ("&&", "||") and cursor.kind == K.BINARY_OPERATOR:
            other = "||" if operator == "&&" else "&&"
            self._add("logic", f"{operator} becomes {other}", cursor, 2, holes,
                      f"(((byre_mutant(@N) != bool(@0)) {operator} (byre_mutant(@N) != bool(@1))) != byre_mutant(@N))")
        if operator in ("<<", ">>") and not self._is_literal(right) and self._is_number(right):
            self._add("shift", f"{operator} by one more", cursor, 2, holes,
                      f"(@0 {operator} ((@1) + byre_mutant(@N)))")
        if operator in ("+", "-", "*", "/", "%", "<<", ">>"):
            for operand in (left, right):
                if self._is_literal(operand):
                    text = self._source(operand)
                    self._add("constant", f"{text} becomes {text} + 1", operand, 2, [self._range(operand)],
                              "(@0 + byre_mutant(@N))")

    def _is_literal(self, cursor):
        source = self._source(cursor)
        return source[:1].isdigit() and source.replace("'", "").isalnum()

    @staticmethod
    def _is_number(cursor):
        return cursor.type.get_canonical().kind in (cindex.TypeKind.INT, cindex.TypeKind.UINT, cindex.TypeKind.ULONG,
                                                    cindex.TypeKind.LONG, cindex.TypeKind.UCHAR)

    def _consider_condition(self, cursor):
        first = next(iter(cursor.get_children()))
        if first.kind in (K.DECL_STMT, K.VAR_DECL) or self._in_macro(first) or not first.kind.is_expression():
            return
        if self.text[:first.extent.start.offset].rstrip()[-1:] != b"(":
            return
        if self.text[first.extent.end.offset:].lstrip()[:1] != b")":
            return
        self._add("condition", "negated", first, 1, [self._range(first)],
                  "(byre_mutant(@N) != bool(@0))")

    def _consider_return(self, cursor, function):
        value = next(iter(cursor.get_children()), None)
        if value is None or self._in_macro(value):
            return
        result = function.result_type.get_canonical().spelling if function.kind != K.LAMBDA_EXPR else ""
        if result == "bool" or self._source(value) in ("true", "false"):
            self._add("return", "the other value", value, 0, [self._range(value)],
                      "(byre_mutant(@N) != bool(@0))")

    def _consider_stage(self, cursor):
        source = self._source(cursor)
        other = STAGES[(STAGES.index(cursor.spelling) + self._draw(cursor).randrange(1, len(STAGES))) % len(STAGES)]
        changed = source[:-len(cursor.spelling)] + other
        self._add("stage", f"{source} becomes {changed}", cursor, 2, [],
                  f"(byre_mutant(@N) ? {changed} : {source})")

    def _consider_statement(self, cursor, parent):
        """A call, an assignment or a step whose value nobody uses."""
        is_call = cursor.kind == K.CALL_EXPR
        is_step = cursor.kind in ASSIGNMENTS
        if cursor.kind == K.BINARY_OPERATOR:
            operands = self._operands(cursor)
            is_step = operands is not None and operands[1] == "="
        if cursor.kind == K.CALL_EXPR and cursor.spelling == "operator=":
            is_call, is_step = False, True
        if not (is_call or is_step) or self.text[cursor.extent.end.offset:].lstrip()[:1] != b";":
            return
        if parent.kind != K.COMPOUND_STMT and self.text[:cursor.extent.start.offset].rstrip()[-1:] == b"(":
            return  # the condition of a loop
        self._add("call" if is_call else "assignment", f"dropped: {self._short(self._source(cursor))}", cursor, 0,
                  [self._range(cursor)], "(byre_mutant(@N) ? void() : void(@0))")

    def _drop_macros(self):
        for begin, end, name in self.macros:
            if name in DROPPED_MACROS and self.text[end:end + 1] == b";" and self._starts_statement(begin):
                line = self.text.count(b"\n", 0, begin) + 1
                source = self.text[begin:end].decode()
                what = f"dropped: {self._short(source)}"
                self.points["call", begin, end] = Point(
                    "call", what, self.file, line, begin, end, 0, [],
                    f"if (!byre_mutant(@N)) {{ {source}; }}")

    def _starts_statement(self, begin):
        before = self.text[:begin].rstrip()
        return before[-1:] in (b";", b"{", b"}", b")") and not self.text[:begin].endswith(b"#define ")

    @staticmethod
    def _short(source):
        words = " ".join(source.split())
        return words if len(words) <= 70 else words[:67] + "..."

    @staticmethod
    def _range(cursor):
        return cursor.extent.start.offset, cursor.extent.end.offset

    def _add(self, kind, what, cursor, rank, holes, form):
        begin, end = self._range(cursor)
        point = Point(kind, what, self.file, cursor.extent.start.line, begin, end, rank, holes, form)
        self.points.setdefault((kind, begin, end), point)


def find_points(path, file, arguments, seed):
    return sorted(Finder.find(path, file, arguments, seed), key=Point.key)


def fill(form, number, texts):
    form = form.replace("@N", str(number))
    for place, text in enumerate(texts):
        form = form.replace(f"@{place}", text)
    return form


def render(text, numbered):
    """The file's bytes with the (number, point) pairs built in, which are in order of Point.key()."""
    def write(begin, end, inner):
        out, at = [], begin
        while inner:
            number, point = inner[0]
            covered = [pair for pair in inner[1:] if pair[1].begin < point.end]
            inner = inner[1 + len(covered):]
            out.append(text[at:point.begin])
            texts = [write(low, high, [p for p in covered if low <= p[1].begin and p[1].end <= high]).decode()
                     for low, high in point.holes]
            out.append(fill(point.form, number, texts).encode())
            at = point.end
        return b"".join(out) + text[at:end]
    return write(0, len(text), numbered)
