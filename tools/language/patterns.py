"""What everyday captions look like: patterns with slots, and the words some slots draw from.

Written for this project. {animal}, {person} and their like are filled with WordNet's nouns under
the roots below; a slot in -s takes the plural; "a {x}" becomes "an {x}" where it has to.
"""

from __future__ import annotations

# Slot -> (lemma, sense number) of the synsets whose words fill it.
ROOTS: dict[str, tuple[tuple[str, int], ...]] = {
    "animal": (("animal", 1),),
    "vehicle": (("vehicle", 1), ("boat", 1)),
    "furniture": (("furniture", 1),),
    "clothes": (("garment", 1), ("headdress", 1), ("footwear", 1)),
    "food": (("food", 2), ("dish", 2), ("baked goods", 1), ("edible fruit", 1), ("vegetable", 1)),
    "drink": (("beverage", 1),),
    "holder": (("vessel", 3), ("bag", 1), ("box", 1), ("basket", 1), ("dish", 1)),
    "building": (("building", 1), ("tower", 1), ("bridge", 1), ("house", 1)),
    "room": (("room", 1),),
    "plant": (("flower", 1), ("tree", 1), ("herb", 1)),
    "music": (("musical instrument", 1),),
    "tool": (("tool", 1), ("electronic equipment", 1), ("kitchen utensil", 1), ("toy", 1)),
    "water": (("body of water", 1),),
    "land": (("geological formation", 1), ("road", 1), ("field", 1)),
    "person": (("worker", 1), ("child", 1), ("adult", 1), ("player", 1), ("entertainer", 1)),
}

WORDS: dict[str, str] = {
    "colour": "red blue green yellow white black brown orange pink purple gray golden silver",
    "size": "small large big tiny huge little long tall short wide narrow giant",
    "look": "old new young beautiful pretty cute dirty clean shiny bright dark colorful empty full "
            "broken modern ancient wooden quiet busy strange funny lovely famous ugly rusty",
    "mood": "happy sad angry tired smiling sleepy hungry playful lonely proud friendly calm",
    "stuff": "wooden metal stone glass plastic paper leather brick concrete steel cotton",
    "weather": "sunny cloudy rainy snowy foggy windy cold warm",
    "rest": "sitting lying standing sleeping resting waiting",
    "move": "running walking jumping moving playing going racing",
    "look_at": "looking staring smiling pointing",
    "hold": "holding carrying wearing selling buying washing painting fixing pushing pulling "
            "cleaning using",
    "cook": "eating cooking cutting serving preparing making holding",
    "ride": "riding driving parking washing pushing repairing",
    "sport": "soccer tennis baseball basketball football golf hockey cards chess volleyball",
    "where": "park garden street city forest beach kitchen house field snow grass water yard room "
             "market village school office zoo farm desert mountains rain sun station restaurant",
    "on": "table floor grass beach street bed sofa roof chair road shelf ground bench wall rock "
          "snow branch fence desk plate",
    "by": "window door river lake sea road wall tree fence fire house station pool",
    "number": "two three four five several many some six",
    "group": "group pair herd crowd row line pile bunch",
    "time": "sunset night sunrise noon dawn day night",
    "shot": "photo picture image photograph painting drawing close-up view snapshot",
    "good": "good bad blurry nice bright dark cropped small large",
    "season": "winter summer spring autumn",
}

PATTERNS = """
a {shot} of a {animal}
a {shot} of a {vehicle}
a {shot} of a {food}
a {shot} of a {plant}
a {shot} of a {building}
a {shot} of a {person}
a {shot} of a {tool}
a {good} {shot} of the {animal}
a {good} {shot} of a {vehicle}
a {good} {shot} of one {holder}
this is a {shot} of a {colour} {animal}
there is a {animal} on the {on}
there are {number} {animals} in the {where}
a {colour} {animal} {rest} on a {furniture}
a {size} {animal} {rest} on the {on}
a {colour} and {colour} {animal} {rest} in the {where}
a {animal} {move} in the {where}
a {animal} {move} through the {where} on a {weather} day
{number} {animals} {rest} by the {by}
a {group} of {animals} in a {where}
a {group} of {persons} {rest} in front of a {building}
a {mood} {animal} {look_at} at the camera
a {animal} {look_at} at a {animal}
a {person} with a {animal} in the {where}
a {person} {rest} on a {furniture}
a {person} {rest} on a bench next to a {person}
a {mood} {person} in a {colour} {clothes}
a {person} wearing a {colour} {clothes} and a {clothes}
a {person} {hold} a {tool}
a {person} {hold} a {colour} {clothes}
a young {person} {hold} a {holder} of {drink}
a {person} playing a {music} in the {where}
a {person} playing {sport} in the {where}
two {persons} playing {sport} on a {weather} day
a {person} {ride} a {vehicle} down the {land}
a {person} riding a {colour} {vehicle} by the {by}
a {colour} {vehicle} parked in front of a {building}
a {colour} {vehicle} on the {land}
{number} {vehicles} parked on the side of the {land}
an {look} {vehicle} driving along the {water}
a {vehicle} in the {where} at {time}
a {size} {colour} {vehicle} in the middle of the {land}
a {person} {cook} a {food} in the kitchen
a plate of {food} and {food} on a table
a {holder} of {drink} on a {stuff} table
a {holder} filled with {foods}
a {colour} {holder} full of {foods} on the {on}
a {food} on a {colour} plate next to a {holder}
a {person} eating {food} at a {furniture}
fresh {foods} for sale in the {where}
a {stuff} {furniture} in a {room}
a {room} with a {furniture} and a {colour} {furniture}
a {look} {room} with a {size} window
the {room} of a {look} {building}
a {look} {building} next to a {size} {building}
a {building} by the {water} at {time}
a {size} {building} with a {colour} roof
people walking in front of an {look} {building}
the {look} {building} is made of {stuff}
a {stuff} {holder} on the {on}
a {tool} and a {tool} on a {stuff} table
a {size} {colour} {tool} {rest} on the {on}
a view of the {land} and the {water}
a {land} covered with snow in {season}
a {colour} {plant} in a {stuff} {holder}
{colour} {plants} in the garden in {season}
a {size} {plant} by the {by}
a {look} {land} near the {water} at {time}
a {vehicle} on the {water} on a {weather} day
the {animal} is {rest} under the {furniture}
the {person} is {hold} the {tool} with both hands
the {person} and the {person} are {look_at} at a {vehicle}
a {animal} eating {food} from a {holder}
a {animal} drinking water from the {water}
a {animal} wearing a {colour} {clothes}
a {person} takes a {shot} of a {animal}
a {shot} of the {building} taken at {time}
{animals} and {animals} on a farm
a {colour} {clothes} hanging on the {by}
a {weather} day in the {where} with {number} {persons}
children playing with a {tool} in the {where}
a {animal} is {move} after a {animal}
a {person} walks a {animal} on the {land}
the {colour} {vehicle} stopped by the {building}
"""
