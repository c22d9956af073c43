from .rewriting import rewrite as rewrite
from .seeds import write_seeds as write_seeds
from .writing import forgiven as forgiven, write_report as write_report
