"""Public names -> where they are; read at run time too (`lazy_loader`)."""

from .batch.cluster import RayCluster as RayCluster
from .batch.engine import generate_batch as generate_batch
from .batch.joining import join_shards as join_shards
from .concepts.concept import Concept as Concept
from .concepts.concept import list_concepts as list_concepts
from .concepts.concept import load_concept as load_concept
from .concepts.levels import Level as Level
from .errors import LineaError as LineaError
from .errors import TrainingDivergedError as TrainingDivergedError
from .errors import ZeroMapsWarning as ZeroMapsWarning
from .evaluation.baselines import gaussian_act as gaussian_act
from .evaluation.baselines import linear_act as linear_act
from .evaluation.baselines import mean_shift as mean_shift
from .evaluation.evaluate import evaluate as evaluate
from .evaluation.evaluation_page import evaluation_page as evaluation_page
from .grids.report.grid_page import grid_page as grid_page
from .grids.report.page import write_report as write_report
from .grids.report.plots import Curve as Curve
from .grids.report.plots import curves_plot as curves_plot
from .grids.report.plots import support_plot as support_plot
from .grids.report.training_record import losses_plot as losses_plot
from .grids.report.training_record import save_losses as save_losses
from .grids.style_grid import StyleGrid as StyleGrid
from .maps.steering_maps import SteeringMaps as SteeringMaps
from .pipelines.language.language_model import LinEASLanguageModel as LinEASLanguageModel
from .pipelines.pipeline import LinEASDiffusionPipeline as LinEASDiffusionPipeline
from .pipelines.rendering.samples import render_samples as render_samples
from .pipelines.steered_blocks import LinEASBlocks as LinEASBlocks
from .scoring.clip_scorer import ClipScorer as ClipScorer
from .steering.activations import edit_activations as edit_activations
from .steering.activations import record_activations as record_activations
from .steering.affine.affine_map import AffineMap as AffineMap
from .steering.language import LanguageModel as LanguageModel
from .steering.presets import find_modules as find_modules
from .studio.explore import explore as explore
from .training.calibration.calibrate import calibrate as calibrate
from .training.config import TrainingConfig as TrainingConfig
from .training.loss.distances import steering_loss as steering_loss
from .training.loss.distances import wasserstein_1d as wasserstein_1d
from .training.recipes import paper_recipe as paper_recipe
from .training.recipes import recipe_for as recipe_for
from .training.train import train_steering_maps as train_steering_maps
from .training.watching import TrainingState as TrainingState

__version__: str
__all__: list[str]
