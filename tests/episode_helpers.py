"""Episodes and how to run a learner on them; the public suite has its own."""

from metaest.testing._episodes import (  # noqa: F401
    IMAGES,
    N_BASE_CLASSES,
    ROWS,
    Episode,
    collate,
    make_episode,
    uneven_episodes,
)
from metaest.testing._runs import (  # noqa: F401
    build,
    directional_derivatives,
    meta_gradient,
    output,
    predict,
    real,
    small_backbone,
)
