"""The samples that the encoder's start is trained on, drawn from the imaginary world."""

from random import Random

from comem_core.pretraining.encoder_recipe import EncoderPretrainingRecipe, find_phase
from comem_core.training.samples import TrainingSample
from comem_core.worlds.imaginary.countries import draw_country, draw_question, draw_rival


def draw_batch(recipe: EncoderPretrainingRecipe, step: int) -> list[TrainingSample]:
    """Draw questions about the step's countries, each with its country's item among others in the same language."""
    random, phase = Random(f"encoder-{recipe.optimizer.seed}-{step}"), find_phase(recipe, step)
    count = random.choice(phase.item_counts)
    samples: list[TrainingSample] = []
    while len(samples) < phase.num_items * phase.num_questions:
        language = random.choice(recipe.languages)
        first = draw_country(
            random, language, num_facts=random.randint(*phase.num_facts), borrowed_share=phase.borrowed_share
        )
        rivals = [random.random() < phase.lookalike_share for _ in range(count - 1)]
        countries = [first, *(draw_rival(random, first, lookalike=lookalike) for lookalike in rivals)]
        random.shuffle(countries)
        items = tuple(country.item(random) for country in countries)
        for _ in range(phase.num_questions * count):
            place = 0 if random.random() < phase.first_share else random.randrange(count)
            about = countries[place]
            question, answer = draw_question(random, about)
            picture = about.picture(random)
            samples.append(
                TrainingSample(
                    sample_id=f"{step}-{len(samples)}",
                    question=question,
                    image=picture,
                    language=language,
                    answer=answer,
                    items=items,
                    about=place,
                )
            )
    return samples
