from .html.markup import (
    details as details,
    element as element,
    figure as figure,
    fixed as fixed,
    join as join,
    number as number,
    paragraph as paragraph,
    percent as percent,
    scrolled as scrolled,
    table as table,
)
from .html.page import Section as Section
from .material import Material as Material
from .rewriting import rewrite as rewrite
from .seeds import write_seeds as write_seeds
from .writing import forgiven as forgiven, write_report as write_report
